//! Command descriptor blocks of commands that address a range of blocks.

use core::fmt;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Opcode;

/// An encoded command: 16 bytes, of which the first [`length`](Self::length) count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cdb {
    bytes: [u8; 16],
    length: u8,
}

impl Cdb {
    /// The command with these bytes (at most 16 are taken).
    pub(super) fn from_layout<T: IntoBytes + Immutable>(layout: &T) -> Self {
        let mut bytes = [0; 16];
        let mut length = 0;
        for (to, from) in bytes.iter_mut().zip(layout.as_bytes()) {
            *to = *from;
            length += 1;
        }
        Self { bytes, length }
    }

    /// A command given as bytes, for those that [`Command`](super::Command) doesn't know.
    /// `None` if there are none or more than 16.
    #[must_use]
    pub fn from_bytes(command: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        let length = u8::try_from(command.len()).ok()?;
        bytes.get_mut(..command.len())?.copy_from_slice(command);
        (length != 0).then_some(Self { bytes, length })
    }

    /// All 16 bytes, zero padded.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.bytes
    }

    /// Bytes of the command: 6, 10, 12 or 16 for a standard one.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The operation code.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        Opcode(self.bytes[0])
    }
}

/// A field's value doesn't fit its place in the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoesNotFit {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} does not fit the command", self.field, self.value)
    }
}

impl core::error::Error for DoesNotFit {}

/// Which of the four sizes of a block command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TransferForm {
    /// 6 bytes: 21 bits of address, 1 to 256 blocks.
    Six,
    /// 10 bytes: 32 bits of address, 16 bits of length.
    Ten,
    /// 12 bytes: 32 bits of address and of length.
    Twelve,
    /// 16 bytes: 64 bits of address, 32 bits of length.
    Sixteen,
}

impl TransferForm {
    /// The form that a guest uses: ten bytes where address and length fit, else sixteen.
    #[must_use]
    pub fn smallest(lba: u64, blocks: u32) -> Self {
        let last = lba.saturating_add(u64::from(blocks));
        if last <= u64::from(u32::MAX) && blocks <= u32::from(u16::MAX) {
            Self::Ten
        } else {
            Self::Sixteen
        }
    }
}

/// Address, length and flags of READ, WRITE, WRITE AND VERIFY and VERIFY.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Transfer {
    /// Size of the command.
    pub form: TransferForm,
    /// First logical block.
    pub lba: u64,
    /// Logical blocks. In the six-byte form 256 is written as 0.
    pub blocks: u32,
    /// Second byte of the command as it is: DPO, FUA, BYTCHK, RELADR and the protection field.
    /// 0 in the six-byte form.
    pub flags: u8,
}

impl Transfer {
    /// Flag: do not keep the data in the cache (a hint).
    pub const DISABLE_PAGE_OUT: u8 = 0x10;
    /// Flag: the data must reach (or come from) stable storage.
    pub const FORCE_UNIT_ACCESS: u8 = 0x08;
    /// Flag: the address is relative; obsolete and refused. Not in the sixteen-byte form.
    pub const RELATIVE_ADDRESS: u8 = 0x01;
    /// Bits of the protection field.
    pub const PROTECT_MASK: u8 = 0xE0;
    /// Flag of VERIFY and WRITE AND VERIFY: compare with the data sent.
    pub const BYTE_CHECK: u8 = 0x02;
    /// Both bits of the byte check field.
    pub const BYTE_CHECK_MASK: u8 = 0x06;

    /// A transfer in the smallest form that a guest uses, without flags.
    #[must_use]
    pub fn new(lba: u64, blocks: u32) -> Self {
        Self {
            form: TransferForm::smallest(lba, blocks),
            lba,
            blocks,
            flags: 0,
        }
    }

    /// Whether the force-unit-access flag is set.
    #[must_use]
    pub const fn force_unit_access(&self) -> bool {
        self.flags & Self::FORCE_UNIT_ACCESS != 0
    }

    /// Whether the relative-address flag is set (never in the forms that lack it).
    #[must_use]
    pub const fn relative_address(&self) -> bool {
        matches!(self.form, TransferForm::Ten | TransferForm::Twelve)
            && self.flags & Self::RELATIVE_ADDRESS != 0
    }

    /// The protection field, 0 to 7.
    #[must_use]
    pub const fn protect(&self) -> u8 {
        self.flags >> 5
    }

    /// The byte check field, 0 to 3.
    #[must_use]
    pub const fn byte_check(&self) -> u8 {
        (self.flags & Self::BYTE_CHECK_MASK) >> 1
    }

    /// Encodes the transfer with the operation code of its form.
    pub(super) fn encode(&self, opcode: Opcode) -> Result<Cdb, DoesNotFit> {
        let lba_32 = || {
            u32::try_from(self.lba).map_err(|_| DoesNotFit {
                field: "logical block address",
                value: self.lba,
            })
        };
        let length_error = DoesNotFit {
            field: "transfer length",
            value: u64::from(self.blocks),
        };
        Ok(match self.form {
            TransferForm::Six => {
                let lba = lba_32()?;
                if lba >= 1 << 21 {
                    return Err(DoesNotFit {
                        field: "logical block address",
                        value: self.lba,
                    });
                }
                let [_, high, middle, low] = lba.to_be_bytes();
                let blocks = match self.blocks {
                    1..=255 => u8::try_from(self.blocks).map_err(|_| length_error)?,
                    256 => 0,
                    _ => return Err(length_error),
                };
                Cdb::from_layout(&[opcode.0, high, middle, low, blocks, 0])
            }
            TransferForm::Ten => Cdb::from_layout(&Ten {
                opcode: opcode.0,
                flags: self.flags,
                lba: U32::new(lba_32()?),
                group: 0,
                length: U16::new(u16::try_from(self.blocks).map_err(|_| length_error)?),
                control: 0,
            }),
            TransferForm::Twelve => Cdb::from_layout(&Twelve {
                opcode: opcode.0,
                flags: self.flags,
                lba: U32::new(lba_32()?),
                length: U32::new(self.blocks),
                group: 0,
                control: 0,
            }),
            TransferForm::Sixteen => Cdb::from_layout(&Sixteen {
                opcode: opcode.0,
                flags: self.flags,
                lba: U64::new(self.lba),
                length: U32::new(self.blocks),
                group: 0,
                control: 0,
            }),
        })
    }

    /// Decodes a command of the given form.
    pub(super) fn decode(form: TransferForm, cdb: &[u8; 16]) -> Self {
        let (lba, blocks, flags) = match form {
            TransferForm::Six => {
                let blocks = match cdb[4] {
                    0 => 256,
                    count => u32::from(count),
                };
                let lba = u32::from_be_bytes([0, cdb[1] & 0x1F, cdb[2], cdb[3]]);
                (u64::from(lba), blocks, 0)
            }
            TransferForm::Ten => {
                let layout = Ten::from_cdb(cdb);
                (
                    u64::from(layout.lba.get()),
                    u32::from(layout.length.get()),
                    layout.flags,
                )
            }
            TransferForm::Twelve => {
                let layout = Twelve::from_cdb(cdb);
                (
                    u64::from(layout.lba.get()),
                    layout.length.get(),
                    layout.flags,
                )
            }
            TransferForm::Sixteen => {
                let layout = Sixteen::from_cdb(cdb);
                (layout.lba.get(), layout.length.get(), layout.flags)
            }
        };
        Self {
            form,
            lba,
            blocks,
            flags,
        }
    }
}

/// A command layout of at most 16 bytes.
pub(super) trait Layout: FromBytes + Sized {
    /// The layout filled from a command's bytes.
    fn from_cdb(cdb: &[u8; 16]) -> Self {
        const { assert!(size_of::<Self>() <= 16) }
        match Self::read_from_prefix(cdb) {
            Ok((layout, _)) => layout,
            // The size is asserted above, so that this arm is never taken.
            Err(_) => Self::new_zeroed(),
        }
    }
}

impl<T: FromBytes> Layout for T {}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Ten {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) lba: U32,
    pub(super) group: u8,
    pub(super) length: U16,
    pub(super) control: u8,
}

const _: () = assert!(size_of::<Ten>() == 10);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Twelve {
    opcode: u8,
    flags: u8,
    lba: U32,
    length: U32,
    group: u8,
    control: u8,
}

const _: () = assert!(size_of::<Twelve>() == 12);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Sixteen {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) lba: U64,
    pub(super) length: U32,
    pub(super) group: u8,
    pub(super) control: u8,
}

const _: () = assert!(size_of::<Sixteen>() == 16);
