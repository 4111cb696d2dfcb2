//! MODE SENSE and MODE SELECT.

use vsc_storage::scsi::{
    CachingPage, DeviceParameter, ModeForm, ModeHeader6, ModeHeader10, PageControl, mode_page,
};
use zerocopy::{FromBytes, IntoBytes};

use super::{DataBuffer, LogicalUnit, Outcome};
use crate::disk::DiskImage as _;

/// Sub-page code for all sub-pages.
const ALL_SUB_PAGES: u8 = 0xFF;
/// Length bytes that a caching page may carry: that of Hyper-V's disks and that of the standard.
const CACHING_LENGTHS: [u8; 2] = [0x0A, 0x12];
/// Most bytes of a MODE SELECT list that are looked at: a header and a few pages.
const MAX_SELECT_LIST: usize = 512;

impl LogicalUnit {
    fn caching_page(&self) -> CachingPage {
        CachingPage::new(self.image.info().volatile_cache)
    }

    pub(super) fn mode_sense(
        &self,
        form: ModeForm,
        page_control: PageControl,
        page: u8,
        sub_page: u8,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let known = match page {
            mode_page::CACHING => sub_page == 0,
            mode_page::ALL => sub_page == 0 || sub_page == ALL_SUB_PAGES,
            _ => false,
        };
        if !known {
            return Outcome::BAD_FIELD;
        }
        let mut body = self.caching_page();
        match page_control {
            PageControl::Current | PageControl::Default => {}
            // Nothing can be changed.
            PageControl::Changeable => body.flags = 0,
            PageControl::Saved => return Outcome::BAD_FIELD,
        }
        let mut parameter = DeviceParameter::DPO_FUA;
        if self.read_only {
            parameter |= DeviceParameter::WRITE_PROTECTED;
        }
        let body = body.as_bytes();
        // Each header counts what comes after its own length field.
        let reply = match form {
            ModeForm::Six => {
                let header = ModeHeader6 {
                    length: (size_of::<ModeHeader6>() - 1 + body.len()) as u8,
                    medium_type: 0,
                    device_parameter: parameter.bits(),
                    block_descriptor_length: 0,
                };
                [header.as_bytes(), body].concat()
            }
            ModeForm::Ten => {
                let header = ModeHeader10 {
                    length: ((size_of::<ModeHeader10>() - 2 + body.len()) as u16).into(),
                    medium_type: 0,
                    device_parameter: parameter.bits(),
                    reserved: [0; 2],
                    block_descriptor_length: 0.into(),
                };
                [header.as_bytes(), body].concat()
            }
        };
        data.reply(&reply, allocation_length.into())
    }

    /// Accepts a list that changes nothing. Turning the cache off must be refused: the guest would stop
    /// flushing, and a later move to another host could turn it on again behind its back.
    pub(super) fn mode_select(
        &self,
        form: ModeForm,
        save_pages: bool,
        parameter_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        if save_pages {
            return Outcome::BAD_FIELD;
        }
        let length = usize::from(parameter_length);
        if length == 0 {
            return Outcome::DONE;
        }
        let header_size = match form {
            ModeForm::Six => size_of::<ModeHeader6>(),
            ModeForm::Ten => size_of::<ModeHeader10>(),
        };
        if length != data.length() as usize
            || length < header_size + size_of::<CachingPage>()
            || length > MAX_SELECT_LIST
        {
            return Outcome::BAD_LIST_LENGTH;
        }
        let mut list = [0; MAX_SELECT_LIST];
        let list = &mut list[..length];
        data.copy_to(list);
        let (header, mut pages) = list.split_at(header_size);
        let descriptors = match form {
            ModeForm::Six => ModeHeader6::read_from_bytes(header)
                .map(|header| u16::from(header.block_descriptor_length))
                .ok(),
            ModeForm::Ten => ModeHeader10::read_from_bytes(header)
                .map(|header| header.block_descriptor_length.get())
                .ok(),
        };
        if descriptors != Some(0) {
            return Outcome::BAD_LIST;
        }
        while let [code, page_length, rest @ ..] = pages {
            let Some((body, next)) = rest.split_at_checked(usize::from(*page_length)) else {
                return Outcome::BAD_LIST_LENGTH;
            };
            let unchanged = *code == mode_page::CACHING
                && CACHING_LENGTHS.contains(page_length)
                && body.first() == Some(&self.caching_page().flags);
            if !unchanged {
                return Outcome::BAD_LIST;
            }
            pages = next;
        }
        if !pages.is_empty() {
            return Outcome::BAD_LIST_LENGTH;
        }
        Outcome::Good {
            transferred: parameter_length.into(),
        }
    }
}
