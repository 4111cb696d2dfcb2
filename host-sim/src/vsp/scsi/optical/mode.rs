//! Mode pages of a drive.

use vsc_storage::scsi::optical::CapabilitiesPage;
use vsc_storage::scsi::{
    AdditionalSense, ModeForm, ModeHeader6, ModeHeader10, PageControl, mode_page,
};
use zerocopy::IntoBytes;

use super::OpticalDrive;
use crate::vsp::scsi::{DataBuffer, Outcome};

/// Sub-page code for all sub-pages.
const ALL_SUB_PAGES: u8 = 0xFF;
/// Bytes of those pages of which no field is used.
const PLAIN_PAGE: usize = 12;
/// Speed of a drive that reads DVDs at 16 times the nominal speed, in 1000 bytes a second.
pub(super) const SPEED: u16 = 22_160;
/// Buffer of the drive in KiB.
const BUFFER: u16 = 256;

/// A page of zeros.
fn plain(code: u8) -> Vec<u8> {
    let mut page = vec![0; PLAIN_PAGE];
    page[0] = code;
    page[1] = (PLAIN_PAGE - 2) as u8;
    page
}

impl OpticalDrive {
    fn capabilities(&self) -> Vec<u8> {
        let mut mechanism =
            CapabilitiesPage::TRAY | CapabilitiesPage::EJECTS | CapabilitiesPage::LOCKS;
        if self.state().locked {
            mechanism |= CapabilitiesPage::LOCKED;
        }
        CapabilitiesPage {
            code: mode_page::CAPABILITIES,
            length: (size_of::<CapabilitiesPage>() - 2) as u8,
            reads: CapabilitiesPage::READS_CD_R
                | CapabilitiesPage::READS_CD_RW
                | CapabilitiesPage::READS_DVD_ROM,
            writes: 0,
            sectors: 0,
            audio: 0,
            mechanism,
            channels: 0,
            max_speed: SPEED.into(),
            volume_levels: 0.into(),
            buffer: BUFFER.into(),
            speed: SPEED.into(),
            rest: [0; 6],
        }
        .as_bytes()
        .to_vec()
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
        if page_control == PageControl::Saved {
            return Outcome::illegal(AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED);
        }
        let all = [
            plain(mode_page::ERROR_RECOVERY),
            plain(mode_page::POWER_CONDITION),
            plain(mode_page::TIMEOUT_AND_PROTECT),
            self.capabilities(),
        ];
        let mut pages: Vec<_> = all
            .into_iter()
            .filter(|one| page == mode_page::ALL || one[0] == page)
            .collect();
        let sub_page_known = sub_page == 0 || (page == mode_page::ALL && sub_page == ALL_SUB_PAGES);
        if pages.is_empty() || !sub_page_known {
            return Outcome::BAD_FIELD;
        }
        if page_control == PageControl::Changeable {
            // Nothing can be changed.
            pages.iter_mut().for_each(|page| page[2..].fill(0));
        }
        let body = pages.concat();
        // Each header counts what comes after its own length field; all pages together have 58 bytes.
        let reply = match form {
            ModeForm::Six => {
                let header = ModeHeader6 {
                    length: (size_of::<ModeHeader6>() - 1 + body.len()) as u8,
                    medium_type: 0,
                    device_parameter: 0,
                    block_descriptor_length: 0,
                };
                [header.as_bytes(), &body].concat()
            }
            ModeForm::Ten => {
                let header = ModeHeader10 {
                    length: ((size_of::<ModeHeader10>() - 2 + body.len()) as u16).into(),
                    medium_type: 0,
                    device_parameter: 0,
                    reserved: [0; 2],
                    block_descriptor_length: 0.into(),
                };
                [header.as_bytes(), &body].concat()
            }
        };
        data.reply(&reply, allocation_length.into())
    }
}

/// Takes a list of mode pages, of which none has a field that changes anything.
pub(super) fn mode_select(
    form: ModeForm,
    save_pages: bool,
    parameter_length: u16,
    data: &DataBuffer<'_>,
) -> Outcome {
    if save_pages {
        return Outcome::BAD_FIELD;
    }
    let header = match form {
        ModeForm::Six => size_of::<ModeHeader6>(),
        ModeForm::Ten => size_of::<ModeHeader10>(),
    };
    match usize::from(parameter_length) {
        0 => Outcome::DONE,
        length if length < header || length > data.length() as usize => Outcome::BAD_LIST_LENGTH,
        _ => Outcome::Good {
            transferred: parameter_length.into(),
        },
    }
}
