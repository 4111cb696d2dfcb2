//! Memory of a process, as `/proc/PID/smaps` tells it.

/// What a process has in memory, in KiB. Pages that several processes share count for each in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Guest RAM that is in use.
    pub ram: u64,
    /// All else.
    pub beyond: u64,
}

/// Tells guest RAM, one mapping of exactly `ram_kibibytes`, from the rest.
///
/// # Errors
/// The text is not what the kernel writes, or has no such mapping or several.
pub fn parse(text: &str, ram_kibibytes: u64) -> Result<Memory, String> {
    let mut is_ram = false;
    let mut ram_mappings = 0;
    let mut memory = Memory { ram: 0, beyond: 0 };
    let mut sizes = 0;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name {
            "Size" => {
                is_ram = kibibytes(line, value)? == ram_kibibytes;
                ram_mappings += u32::from(is_ram);
                sizes += 1;
            }
            "Pss" => {
                let part = if is_ram {
                    &mut memory.ram
                } else {
                    &mut memory.beyond
                };
                *part = part.saturating_add(kibibytes(line, value)?);
            }
            _ => {}
        }
    }
    match (sizes, ram_mappings) {
        (0, _) => Err("the kernel tells no mappings".to_owned()),
        (_, 1) => Ok(memory),
        (_, count) => Err(format!(
            "{count} mappings have the {ram_kibibytes} KiB of guest RAM, so that it cannot be told from the rest"
        )),
    }
}

/// `      12 kB` is 12.
fn kibibytes(line: &str, value: &str) -> Result<u64, String> {
    let digits = value.trim().strip_suffix(" kB");
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("`{line}` is no line of smaps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "\
55d0c0a00000-55d0c0a10000 r-xp 00001000 fe:00 123: 45                    /usr/bin/a: b
Size:                 64 kB
KernelPageSize:        4 kB
Rss:                  60 kB
Pss:                  30 kB
Pss_Dirty:             7 kB
VmFlags: rd ex mr mw me sd
";
    const RAM: &str = "\
7f0000000000-7f0020000000 rw-p 00000000 00:00 0
Size:             524288 kB
Rss:               80000 kB
Pss:               80000 kB
";

    #[test]
    fn guest_ram_is_told_from_the_rest() {
        let text = [PROGRAM, RAM, PROGRAM].concat();
        let memory = parse(&text, 524_288).unwrap();
        assert_eq!(
            memory,
            Memory {
                ram: 80_000,
                beyond: 60
            }
        );
    }

    #[test]
    fn no_figure_is_made_up() {
        assert!(parse("", 524_288).is_err());
        let none = parse(PROGRAM, 524_288).unwrap_err();
        assert!(none.starts_with("0 mappings"));
        let two = parse(&[RAM, RAM].concat(), 524_288).unwrap_err();
        assert!(two.starts_with("2 mappings"));
        for line in ["Size: x kB", "Size: 1 MB", "Pss: -1 kB"] {
            assert!(parse(&[RAM, line].concat(), 524_288).is_err());
        }
        // A process without mappings of its own has a sum that fits; one that claims the impossible does not wrap.
        let huge = format!("{RAM}Size: 1 kB\nPss: {0} kB\nPss: {0} kB\n", u64::MAX);
        assert_eq!(parse(&huge, 524_288).unwrap().beyond, u64::MAX);
    }
}
