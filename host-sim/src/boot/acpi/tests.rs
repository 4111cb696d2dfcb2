use super::*;

fn tables(processors: u32) -> AcpiTables {
    AcpiTables::new(&AcpiConfig {
        processor_count: processors,
        vmbus: true,
        low_mmio: LOW_MMIO,
        high_mmio: high_mmio(0),
    })
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

/// A table at a guest-physical address, by its own length.
fn table(tables: &AcpiTables, address: u64) -> &[u8] {
    let at = (address - ACPI_TABLES.start) as usize;
    let length = number::<4>(tables.as_bytes(), at + 4) as usize;
    &tables.as_bytes()[at..at + length]
}

/// What a kernel finds by following the root pointer: signature and table.
fn walk(tables: &AcpiTables) -> Vec<(String, &[u8])> {
    let pointer = &tables.as_bytes()[..36];
    assert_eq!(&pointer[..8], b"RSD PTR ");
    assert_eq!((sum(&pointer[..20]), sum(pointer)), (0, 0));
    let root = table(tables, number::<8>(pointer, 24));
    assert_eq!(&root[..4], b"XSDT");
    assert_eq!(sum(root), 0);
    let mut found = Vec::new();
    for at in (36..root.len()).step_by(8) {
        let entry = table(tables, number::<8>(root, at));
        found.push((String::from_utf8_lossy(&entry[..4]).into_owned(), entry));
        if &entry[..4] == b"FACP" {
            let dsdt = table(tables, number::<4>(entry, 40));
            assert_eq!(number::<8>(entry, 140), number::<4>(entry, 40));
            found.push(("DSDT".to_owned(), dsdt));
            let facs = number::<4>(entry, 36);
            assert_eq!(&table(tables, facs)[..4], b"FACS");
            assert!(facs.is_multiple_of(64));
        }
    }
    found
}

#[test]
fn every_table_is_found_from_the_root_and_sums_to_zero() {
    for processors in [1, 4, 64, MOST_PROCESSORS] {
        let tables = tables(processors);
        let found = walk(&tables);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["FACP", "DSDT", "APIC"]);
        for (name, table) in found {
            assert_eq!(sum(table), 0, "{name}");
        }
        assert!(tables.as_bytes().len() as u64 <= ACPI_TABLES.end - ACPI_TABLES.start);
        assert_eq!(tables.root_pointer(), ACPI_TABLES.start);
    }
}

#[test]
fn each_processor_has_a_local_apic() {
    let tables = tables(3);
    let found = walk(&tables);
    let (_, madt) = found.iter().find(|(name, _)| name == "APIC").unwrap();
    assert_eq!(number::<4>(madt, 36), 0xFEE0_0000);
    assert_eq!(number::<4>(madt, 40), 1, "legacy controllers");
    let (mut at, mut identifiers, mut kinds) = (44, Vec::new(), Vec::new());
    while at < madt.len() {
        kinds.push(madt[at]);
        if madt[at] == 0 {
            assert_eq!(number::<4>(madt, at + 4), 1, "enabled");
            identifiers.push((madt[at + 2], madt[at + 3]));
        }
        at += usize::from(madt[at + 1]);
    }
    assert_eq!(at, madt.len());
    assert_eq!(identifiers, [(0, 0), (1, 1), (2, 2)]);
    assert_eq!(kinds, [0, 0, 0, 1, 2, 4]);
}

#[test]
fn the_vmbus_is_there_if_wanted() {
    let has_vmbus = |vmbus| {
        let config = AcpiConfig {
            processor_count: 1,
            vmbus,
            low_mmio: LOW_MMIO,
            high_mmio: high_mmio(0),
        };
        let tables = AcpiTables::new(&config);
        tables
            .as_bytes()
            .windows(6)
            .any(|window| window == b"VMBus\0")
    };
    assert!(has_vmbus(true));
    assert!(!has_vmbus(false));
}

/// ACPICA's own disassembler, where it is installed. Its compiler refuses the identifier "VMBus", which Hyper-V has.
#[test]
fn the_reference_disassembler_understands_every_table() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let iasl = |arguments: &[&str]| {
        let output = Command::new("iasl")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some((output.status.success() && !text.contains("Error"), text))
    };
    if iasl(&["-v"]).is_none() {
        // Not every machine has it, and the other tests do without.
        return;
    }
    for (name, table) in walk(&tables(4)) {
        let file = format!("{name}.dat");
        std::fs::write(folder.path().join(&file), table).unwrap();
        let (is_good, text) = iasl(&["-d", &file]).unwrap();
        assert!(is_good, "{name}: {text}");
        let source = folder.path().join(format!("{name}.dsl"));
        let disassembly = std::fs::read_to_string(source).unwrap();
        assert!(!disassembly.contains("Invalid"), "{name}: {disassembly}");
    }
}

#[test]
fn memory_without_room_for_the_tables_is_refused() {
    let memory = GuestMemory::new(64 << 10).unwrap();
    assert!(tables(1).load(&memory).is_err());
    let memory = GuestMemory::new(1 << 20).unwrap();
    tables(1).load(&memory).unwrap();
    let mut signature = [0; 8];
    memory.read(ACPI_TABLES.start, &mut signature).unwrap();
    assert_eq!(&signature, b"RSD PTR ");
}
