//! The PC on KVM: reset, power-off, device memory, and a hypervisor that hides, with a kernel of a few instructions.

mod kvm_support;

use std::io;
use std::ops::Range;

use host_sim::boot::acpi::AcpiConfig;
use host_sim::boot::address_space::{HOLE, LOW_MMIO};
use host_sim::boot::linux::{Kernel, LinuxBoot};
use host_sim::memory::GuestMemory;
use host_sim::partition::device_memory::{DeviceMemory, DeviceMemoryMapper, MapError};
use host_sim::partition::kvm::{Failure, KvmConfig, KvmError, Outcome, Partition, Platform};
use host_sim::serial::Capture;
use kvm_support::{finish, skip};

const RAM: u64 = 8 << 20;

/// `mov dx, 0x3f8; mov al, BYTE; out dx, al`
fn say(byte: u8) -> Vec<u8> {
    vec![0x66, 0xBA, 0xF8, 0x03, 0xB0, byte, 0xEE]
}

/// `mov dx, 0xcf9; mov al, 0x0e; out dx, al; hlt`
const RESET: &[u8] = &[0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x0E, 0xEE, 0xF4];

/// `mov dx, 0x604; mov ax, 0x3400; out dx, ax; hlt`
const POWER_OFF: &[u8] = &[
    0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4,
];

/// `mov ecx, 0x40000000; rdmsr`
const READ_GUEST_OS_ID: &[u8] = &[0xB9, 0, 0, 0, 0x40, 0x0F, 0x32];

/// A bzImage for 32 bits with this code.
fn kernel(code: &[u8]) -> Kernel {
    let mut image = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1F1, &[1]);
    put(0x1FE, &[0x55, 0xAA, 0xEB, 0x66]);
    put(0x202, b"HdrS\x0F\x02");
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x238, &2047_u32.to_le_bytes());
    put(0x258, &0x20_0000_u64.to_le_bytes());
    put(0x260, &0x1000_u32.to_le_bytes());
    image.extend_from_slice(code);
    Kernel::new(image).unwrap()
}

fn load(partition: &mut Partition, kernel: &Kernel) {
    let acpi = AcpiConfig::new(1, partition.memory());
    partition
        .load_linux(&LinuxBoot {
            kernel,
            initrd: None,
            command_line: "",
            acpi: &acpi,
            efi: false,
        })
        .unwrap();
}

/// A PC and what it prints, or `None` on machines without usable KVM.
fn pc(test: &str, hypervisor: bool) -> Option<(Partition, Capture)> {
    let console = Capture::new(1 << 16);
    let config = KvmConfig {
        memory: GuestMemory::with_hole(RAM, HOLE).unwrap(),
        vp_count: 1,
        platform: Platform::Pc { hypervisor },
        console: Box::new(console.clone()),
        report: Box::new(io::sink()),
        on_event: None,
    };
    match Partition::new(config) {
        Ok(partition) => Some((partition, console)),
        Err(
            why @ (KvmError::Missing { .. } | KvmError::Denied { .. } | KvmError::Capability(_)),
        ) => {
            skip(test, &why.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Prints the first byte of the device memory and writes its third; resets if the second is 0, else powers off.
fn device_memory_code() -> Vec<u8> {
    let mut code = say(b'<');
    // mov al, [0xE0000000]; out dx, al
    code.extend([0xA0, 0, 0, 0, 0xE0, 0xEE]);
    // mov byte [0xE0000002], 7
    code.extend([0xC6, 0x05, 2, 0, 0, 0xE0, 7]);
    // cmp byte [0xE0000001], 0; jne over the reset
    code.extend([0x80, 0x3D, 1, 0, 0, 0xE0, 0, 0x75, RESET.len() as u8]);
    code.extend(RESET);
    code.extend(POWER_OFF);
    code
}

#[test]
fn it_resets_and_powers_off_with_device_memory_in_place() {
    let Some((mut partition, console)) = pc("kvm pc", true) else {
        return;
    };
    assert_eq!(LOW_MMIO.start, 0xE000_0000);
    let memory = DeviceMemory::new(1 << 20).unwrap();
    memory.write(0, b"x").unwrap();
    let mapper = std::sync::Arc::clone(partition.device_memory());
    mapper.map(LOW_MMIO.start, &memory).unwrap();
    let kernel = kernel(&device_memory_code());
    load(&mut partition, &kernel);
    let mut running = partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::ResetRequested { vp: 0 });
    let mut written = [0; 3];
    memory.read(0, &mut written).unwrap();
    assert_eq!(written, [b'x', 0, 7]);

    memory.write(0, &[b'y', 1, 0]).unwrap();
    let mut partition = running.reset().unwrap();
    partition.memory().clear().unwrap();
    load(&mut partition, &kernel);
    let mut running = partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
    assert_eq!(console.text(), "<x<y");
    memory.read(0, &mut written).unwrap();
    assert_eq!(written, [b'y', 1, 7]);

    // Where nothing is mapped, all ones are read.
    mapper.unmap(LOW_MMIO.start).unwrap();
    assert!(matches!(
        mapper.unmap(LOW_MMIO.start),
        Err(MapError::NotMapped { .. })
    ));
    let mut partition = running.reset().unwrap();
    partition.memory().clear().unwrap();
    load(&mut partition, &kernel);
    let mut running = partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
    memory.read(0, &mut written).unwrap();
    assert_eq!(written, [b'y', 1, 7]);
}

#[test]
fn the_hypervisor_hides_if_told_to() {
    let code = [
        say(b'a'),
        READ_GUEST_OS_ID.to_vec(),
        say(b'b'),
        POWER_OFF.to_vec(),
    ]
    .concat();
    let kernel = kernel(&code);
    let Some((mut partition, console)) = pc("kvm pc hypervisor", true) else {
        return;
    };
    load(&mut partition, &kernel);
    let mut running = partition.start().unwrap();
    assert_eq!(finish(&mut running), Outcome::PoweredOff { status: 0 });
    assert_eq!(console.text(), "ab");

    let Some((mut partition, console)) = pc("kvm pc hypervisor", false) else {
        return;
    };
    load(&mut partition, &kernel);
    let mut running = partition.start().unwrap();
    let outcome = finish(&mut running);
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                failure: Failure::TripleFault,
                ..
            }
        ),
        "{outcome}"
    );
    assert_eq!(console.text(), "a");
}

#[test]
fn ram_in_the_devices_addresses_is_refused() {
    let Some(_) = pc("kvm pc memory", true) else {
        return;
    };
    let hole: Range<u64> = 4 << 20..HOLE.start;
    let config = KvmConfig {
        memory: GuestMemory::with_hole(RAM, hole).unwrap(),
        vp_count: 1,
        platform: Platform::Pc { hypervisor: true },
        console: Box::new(io::sink()),
        report: Box::new(io::sink()),
        on_event: None,
    };
    assert!(matches!(
        Partition::new(config),
        Err(KvmError::TooMuchMemory(_))
    ));
}
