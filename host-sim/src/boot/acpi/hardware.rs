//! Ports and interrupt lines of the fixed hardware that the tables name.

/// First port of the power management event block: status (16 bits), then enable (16 bits).
pub const PM1_EVENT: u16 = 0x600;
/// Bytes of the event block.
pub const PM1_EVENT_BYTES: u8 = 4;
/// Port of the power management control register (16 bits).
pub const PM1_CONTROL: u16 = 0x604;
/// Bytes of the control register.
pub const PM1_CONTROL_BYTES: u8 = 2;
/// Port of the power management timer (32 bits, 3.579545 MHz).
pub const PM_TIMER: u16 = 0x608;
/// Bytes of the timer.
pub const PM_TIMER_BYTES: u8 = 4;
/// The interrupt line of power management, level-triggered and active high.
pub const SCI: u8 = 9;
/// Sleep type of state S5 (off) in the control register.
pub const SLEEP_TYPE_OFF: u8 = 5;

/// Port of the reset register.
pub const RESET: u16 = 0xCF9;
/// The value that resets the machine.
pub const RESET_VALUE: u8 = 0x0E;

/// Ports of the real-time clock: index, then data.
pub const REAL_TIME_CLOCK: u16 = 0x70;
/// The real-time clock's interrupt line.
pub const REAL_TIME_CLOCK_LINE: u8 = 8;
/// Where the real-time clock keeps the century.
pub const CENTURY_INDEX: u8 = 0x32;

/// First ports of the serial ports COM1 and COM2.
pub const SERIAL: [u16; 2] = [0x3F8, 0x2F8];
/// Their interrupt lines.
pub const SERIAL_LINES: [u8; 2] = [4, 3];

/// The I/O APIC's identifier, as KVM's register has it. The local APICs count for themselves.
pub const IO_APIC_ID: u8 = 0;
