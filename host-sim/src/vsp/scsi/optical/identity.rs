//! INQUIRY of a drive.

use vsc_storage::scsi::{MsftIdentity, PeripheralType, StandardInquiry, VpdHeader, VpdPage};
use zerocopy::IntoBytes;

use super::OpticalDrive;
use crate::vsp::scsi::identity::{
    MINIMUM_PAGE, MINIMUM_STANDARD, RESPONSE_FORMAT, REVISION, VENDOR, inquiry_reply,
};
use crate::vsp::scsi::{DataBuffer, Outcome};

const PRODUCT: [u8; 16] = *b"Virtual DVD-ROM ";

impl OpticalDrive {
    pub(super) fn inquiry(
        &self,
        vital_product_data: bool,
        page: VpdPage,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        if vital_product_data {
            return self.vital_product_data(page, allocation_length, data);
        }
        if page != VpdPage(0) {
            return Outcome::BAD_FIELD;
        }
        let reply = StandardInquiry {
            peripheral: PeripheralType::OPTICAL.0,
            removable: StandardInquiry::REMOVABLE,
            // As real hosts' drives; no guest cares.
            version: 0,
            response_format: RESPONSE_FORMAT,
            additional_length: (size_of::<StandardInquiry>() - StandardInquiry::MINIMUM_SIZE) as u8,
            flags0: 0,
            flags1: 0,
            flags2: 0,
            vendor: VENDOR,
            product: PRODUCT,
            revision: REVISION,
        };
        inquiry_reply(reply.as_bytes(), MINIMUM_STANDARD, allocation_length, data)
    }

    fn vital_product_data(
        &self,
        page: VpdPage,
        allocation_length: u16,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let body = match page {
            VpdPage::SUPPORTED_PAGES => {
                vec![VpdPage::SUPPORTED_PAGES.0, VpdPage::DEVICE_IDENTIFICATION.0]
            }
            VpdPage::DEVICE_IDENTIFICATION => MsftIdentity {
                header: [0x01, 0x01, 0x00, 0x18],
                vendor: VENDOR,
                disk: self.identity,
            }
            .as_bytes()
            .to_vec(),
            _ => return Outcome::BAD_FIELD,
        };
        let header = VpdHeader {
            peripheral: PeripheralType::OPTICAL.0,
            page: page.0,
            // At most 28 bytes.
            length: (body.len() as u16).into(),
        };
        let reply = [header.as_bytes(), &body].concat();
        inquiry_reply(&reply, MINIMUM_PAGE, allocation_length, data)
    }
}
