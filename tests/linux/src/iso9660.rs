//! The least that is an ISO 9660 file system: one directory of files.

/// Bytes in a block.
const BLOCK: usize = 2048;

/// The block after the reserved ones: the volume's description.
const DESCRIPTION: u32 = 16;
const TERMINATOR: u32 = 17;
const PATHS: [u32; 2] = [18, 19];
const ROOT: u32 = 20;
const FIRST_FILE: u32 = 21;

/// A file system with a label and files. Names are of the form `NAME.EXT` in capital letters and digits; readers show
/// them in small letters.
///
/// # Panics
/// The directory does not fit into one block, or the whole is larger than 4 GiB.
#[must_use]
pub fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut directory = record(ROOT, BLOCK, true, &[0]);
    directory.extend(record(ROOT, BLOCK, true, &[1]));
    let mut contents = Vec::new();
    for (name, data) in files {
        let block = FIRST_FILE + u32::try_from(contents.len() / BLOCK).expect("not so large");
        let name = format!("{name};1");
        directory.extend(record(block, data.len(), false, name.as_bytes()));
        contents.extend_from_slice(data);
        contents.resize(contents.len().next_multiple_of(BLOCK), 0);
    }
    assert!(directory.len() <= BLOCK, "too many files");
    let blocks = FIRST_FILE as usize + contents.len() / BLOCK;

    let mut image = vec![0; FIRST_FILE as usize * BLOCK];
    put(&mut image, DESCRIPTION, &description(label, blocks));
    put(&mut image, TERMINATOR, b"\xFFCD001\x01");
    for (place, at) in PATHS.iter().zip([ROOT.to_le_bytes(), ROOT.to_be_bytes()]) {
        put(&mut image, *place, &path_table(at, *place == PATHS[1]));
    }
    put(&mut image, ROOT, &directory);
    image.extend(contents);
    image
}

fn put(image: &mut [u8], block: u32, bytes: &[u8]) {
    let start = block as usize * BLOCK;
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

/// A number in both byte orders, as most are stored.
fn both_32(number: usize) -> [u8; 8] {
    let number = u32::try_from(number).expect("not so large");
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both_16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

/// The primary volume descriptor (ECMA-119, section 8.4).
fn description(label: &str, blocks: usize) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let mut field = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    field(0, b"\x01CD001\x01");
    field(8, &[b' '; 64]);
    field(40, label.as_bytes());
    field(80, &both_32(blocks));
    field(120, &both_16(1));
    field(124, &both_16(1));
    field(128, &both_16(BLOCK as u16));
    field(132, &both_32(10));
    field(140, &PATHS[0].to_le_bytes());
    field(148, &PATHS[1].to_be_bytes());
    field(156, &record(ROOT, BLOCK, true, &[0]));
    field(190, &[b' '; 623]);
    // Four times that say nothing: digits that are all zero, and Greenwich.
    for at in [813, 830, 847, 864] {
        field(at, &[b'0'; 16]);
    }
    field(881, &[1]);
    bytes
}

/// A directory record (ECMA-119, section 9.1).
fn record(block: u32, length: usize, is_directory: bool, name: &[u8]) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut bytes = vec![0; size];
    bytes[0] = u8::try_from(size).expect("names are short");
    bytes[2..10].copy_from_slice(&both_32(block as usize));
    bytes[10..18].copy_from_slice(&both_32(length));
    // The first of January 2026.
    bytes[18..21].copy_from_slice(&[126, 1, 1]);
    bytes[25] = if is_directory { 2 } else { 0 };
    bytes[28..32].copy_from_slice(&both_16(1));
    bytes[32] = name.len() as u8;
    bytes[33..33 + name.len()].copy_from_slice(name);
    bytes
}

/// The table of the root alone (ECMA-119, section 9.4).
fn path_table(root: [u8; 4], is_big_endian: bool) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(root);
    bytes.extend(if is_big_endian { [0, 1] } else { [1, 0] });
    bytes.extend([0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_the_directory_says() {
        let image = image("LABEL", &[("A.TXT", b"first"), ("B.BIN", &[7; 3000])]);
        assert_eq!(image.len(), (21 + 1 + 2) * BLOCK);
        assert_eq!(&image[16 * BLOCK + 40..][..6], b"LABEL ");
        let directory = &image[20 * BLOCK..];
        let (mut at, mut found) = (0, Vec::new());
        while directory[at] != 0 {
            let record = &directory[at..at + usize::from(directory[at])];
            let number = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            let start = number(2) as usize * BLOCK;
            let name = String::from_utf8_lossy(&record[33..33 + usize::from(record[32])]);
            found.push((name.into_owned(), &image[start..][..number(10) as usize]));
            at += record.len();
        }
        assert_eq!(found[2], ("A.TXT;1".to_owned(), &b"first"[..]));
        assert_eq!(found[3], ("B.BIN;1".to_owned(), &[7; 3000][..]));
        assert_eq!(found.len(), 4);
    }
}
