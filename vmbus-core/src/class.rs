//! GUIDs of the device classes (interface GUIDs) and of the devices that exist once per machine.

use crate::guid::Guid;

macro_rules! classes {
    ($($constant:ident, $name:literal, $($field:expr),+;)*) => {
        $(
            #[doc = concat!("Interface GUID: ", $name, ".")]
            pub const $constant: Guid = Guid::from_fields($($field),+);
        )*

        /// Name of a class, for people; `None` for one that is not known here.
        ///
        /// The class of a socket channel is the GUID of its service, so not every class can have a name.
        #[must_use]
        pub fn name(class: &Guid) -> Option<&'static str> {
            match *class {
                $($constant => Some($name),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const ALL: &[Guid] = &[$($constant),*];
    };
}

classes! {
    SCSI, "SCSI controller", 0xba61_63d9, 0x04a1, 0x4d29, [0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f];
    IDE, "accelerated IDE disk", 0x3241_2632, 0x86cb, 0x44a2, [0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5];
    FIBRE_CHANNEL, "Fibre Channel adapter", 0x2f9b_cc4a, 0x0069, 0x4af3, [0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, 0x8c, 0xda];
    NETWORK, "network adapter", 0xf861_5163, 0xdf3e, 0x46c5, [0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e];
    NETWORK_DIRECT, "Network Direct (RDMA) adapter", 0x8c2e_af3d, 0x32a7, 0x4b09, [0xab, 0x99, 0xbd, 0x1f, 0x1c, 0x86, 0xb5, 0x01];
    PCI, "PCI pass-through", 0x44c4_f61d, 0x4444, 0x4400, [0x9d, 0x52, 0x80, 0x2e, 0x27, 0xed, 0xe1, 0x9f];
    VIDEO, "video", 0xda0a_7802, 0xe377, 0x4aac, [0x8e, 0x77, 0x05, 0x58, 0xeb, 0x10, 0x73, 0xf8];
    KEYBOARD, "keyboard", 0xf912_ad6d, 0x2b17, 0x48ea, [0xbd, 0x65, 0xf9, 0x27, 0xa6, 0x1c, 0x76, 0x84];
    MOUSE, "mouse", 0xcfa8_b69e, 0x5b4a, 0x4cc0, [0xb9, 0x8b, 0x8b, 0xa1, 0xa1, 0xf3, 0xf9, 0x5a];
    HEARTBEAT, "heartbeat", 0x5716_4f39, 0x9115, 0x4e78, [0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d];
    TIME_SYNC, "time synchronisation", 0x9527_e630, 0xd0ae, 0x497b, [0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf];
    SHUTDOWN, "shutdown", 0x0e0b_6031, 0x5213, 0x4934, [0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb];
    KVP, "key-value exchange", 0xa9a0_f4e7, 0x5a45, 0x4d96, [0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6];
    VSS, "backup", 0x35fa_2e29, 0xea23, 0x4236, [0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40];
    FILE_COPY, "file copy", 0x34d1_4be3, 0xdee4, 0x41c8, [0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92];
    DYNAMIC_MEMORY, "dynamic memory", 0x5250_74dc, 0x8985, 0x46e2, [0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18, 0xa5, 0x02];
    ACTIVATION, "automatic activation", 0x3375_baf4, 0x9e15, 0x4b30, [0xb7, 0x65, 0x67, 0xac, 0xb1, 0x0d, 0x60, 0x7b];
    REMOTE_DESKTOP_CONTROL, "remote desktop control", 0xf8e6_5716, 0x3cb3, 0x4a06, [0x9a, 0x60, 0x18, 0x89, 0xc5, 0xcc, 0xca, 0xb5];
    REMOTE_DESKTOP_DATA, "remote desktop data", 0xf9e9_c0d3, 0xb511, 0x4a48, [0x80, 0x46, 0xd3, 0x80, 0x79, 0xa8, 0x83, 0x0c];
    REMOTE_DESKTOP_VIRTUALISATION, "remote desktop virtualisation control", 0x276a_acf4, 0xac15, 0x426c, [0x98, 0xdd, 0x75, 0x21, 0xad, 0x3f, 0x01, 0xfe];
    BOOT_FILE_SYSTEM, "boot file system", 0xc376_c1c3, 0xd276, 0x48d2, [0x90, 0xa9, 0xc0, 0x47, 0x48, 0x07, 0x2c, 0x60];
    NEGOTIATION, "integration component negotiation", 0x9722_c3e7, 0x8f86, 0x456d, [0x8b, 0x6c, 0x60, 0x09, 0xda, 0x4c, 0xcd, 0x0b];
}

/// Customary instance GUIDs of devices that a machine has one of.
pub mod instance {
    use super::Guid;

    /// Instance GUID: video.
    pub const VIDEO: Guid = Guid::from_fields(
        0x5620_e0c7,
        0x8062,
        0x4dce,
        [0xae, 0xb7, 0x52, 0x0c, 0x7e, 0xf7, 0x61, 0x71],
    );
    /// Instance GUID: keyboard.
    pub const KEYBOARD: Guid = Guid::from_fields(
        0xd34b_2567,
        0xb9b6,
        0x42b9,
        [0x87, 0x78, 0x0a, 0x4e, 0xc0, 0xb9, 0x55, 0xbf],
    );
    /// Instance GUID: mouse.
    pub const MOUSE: Guid = Guid::from_fields(
        0x58f7_5a6d,
        0xd949,
        0x4320,
        [0x99, 0xe1, 0xa2, 0xa2, 0x57, 0x6d, 0x58, 0x1c],
    );
    /// Instance GUID: heartbeat.
    pub const HEARTBEAT: Guid = Guid::from_fields(
        0xfd14_9e91,
        0x82e0,
        0x4a7d,
        [0xaf, 0xa6, 0x2a, 0x41, 0x66, 0xcb, 0xd7, 0xc0],
    );
    /// Instance GUID: time synchronisation.
    pub const TIME_SYNC: Guid = Guid::from_fields(
        0x2dd1_ce17,
        0x079e,
        0x403c,
        [0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee],
    );
    /// Instance GUID: shutdown.
    pub const SHUTDOWN: Guid = Guid::from_fields(
        0xb665_0ff7,
        0x33bc,
        0x4840,
        [0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93],
    );
    /// Instance GUID: key-value exchange.
    pub const KVP: Guid = Guid::from_fields(
        0x242f_f919,
        0x07db,
        0x4180,
        [0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55],
    );
    /// Instance GUID: backup.
    pub const VSS: Guid = Guid::from_fields(
        0x2450_ee40,
        0x33bf,
        0x4fbd,
        [0x89, 0x2e, 0x9f, 0xb0, 0x6e, 0x92, 0x14, 0xcf],
    );
    /// Instance GUID: file copy.
    pub const FILE_COPY: Guid = Guid::from_fields(
        0xeb76_5408,
        0x105f,
        0x49b6,
        [0xb4, 0xaa, 0xc1, 0x23, 0xb6, 0x4d, 0x17, 0xd4],
    );
    /// Instance GUID: dynamic memory.
    pub const DYNAMIC_MEMORY: Guid = Guid::from_fields(
        0x1ecc_fd72,
        0x4b41,
        0x45ef,
        [0xb7, 0x3a, 0x4a, 0x6e, 0x44, 0xc1, 0x29, 0x24],
    );
    /// Instance GUID: automatic activation.
    pub const ACTIVATION: Guid = Guid::from_fields(
        0x4487_b255,
        0xb88c,
        0x403f,
        [0xbb, 0x51, 0xd1, 0xf6, 0x9c, 0xf1, 0x7f, 0x87],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn texts() {
        assert_eq!(SCSI.to_string(), "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
        assert_eq!(IDE.to_string(), "32412632-86cb-44a2-9b5c-50d1417354f5");
        assert_eq!(
            FIBRE_CHANNEL.to_string(),
            "2f9bcc4a-0069-4af3-b76b-6fd0be528cda"
        );
        assert_eq!(NETWORK.to_string(), "f8615163-df3e-46c5-913f-f2d2f965ed0e");
        assert_eq!(
            NETWORK_DIRECT.to_string(),
            "8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501"
        );
        assert_eq!(PCI.to_string(), "44c4f61d-4444-4400-9d52-802e27ede19f");
        assert_eq!(VIDEO.to_string(), "da0a7802-e377-4aac-8e77-0558eb1073f8");
        assert_eq!(KEYBOARD.to_string(), "f912ad6d-2b17-48ea-bd65-f927a61c7684");
        assert_eq!(MOUSE.to_string(), "cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a");
        assert_eq!(
            HEARTBEAT.to_string(),
            "57164f39-9115-4e78-ab55-382f3bd5422d"
        );
        assert_eq!(
            TIME_SYNC.to_string(),
            "9527e630-d0ae-497b-adce-e80ab0175caf"
        );
        assert_eq!(SHUTDOWN.to_string(), "0e0b6031-5213-4934-818b-38d90ced39db");
        assert_eq!(KVP.to_string(), "a9a0f4e7-5a45-4d96-b827-8a841e8c03e6");
        assert_eq!(VSS.to_string(), "35fa2e29-ea23-4236-96ae-3a6ebacba440");
        assert_eq!(
            FILE_COPY.to_string(),
            "34d14be3-dee4-41c8-9ae7-6b174977c192"
        );
        assert_eq!(
            DYNAMIC_MEMORY.to_string(),
            "525074dc-8985-46e2-8057-a307dc18a502"
        );
        assert_eq!(
            ACTIVATION.to_string(),
            "3375baf4-9e15-4b30-b765-67acb10d607b"
        );
        assert_eq!(
            REMOTE_DESKTOP_CONTROL.to_string(),
            "f8e65716-3cb3-4a06-9a60-1889c5cccab5"
        );
        assert_eq!(
            REMOTE_DESKTOP_DATA.to_string(),
            "f9e9c0d3-b511-4a48-8046-d38079a8830c"
        );
        assert_eq!(
            REMOTE_DESKTOP_VIRTUALISATION.to_string(),
            "276aacf4-ac15-426c-98dd-7521ad3f01fe"
        );
        assert_eq!(
            BOOT_FILE_SYSTEM.to_string(),
            "c376c1c3-d276-48d2-90a9-c04748072c60"
        );
        assert_eq!(
            NEGOTIATION.to_string(),
            "9722c3e7-8f86-456d-8b6c-6009da4ccd0b"
        );
        assert_eq!(
            instance::VIDEO.to_string(),
            "5620e0c7-8062-4dce-aeb7-520c7ef76171"
        );
        assert_eq!(
            instance::KEYBOARD.to_string(),
            "d34b2567-b9b6-42b9-8778-0a4ec0b955bf"
        );
        assert_eq!(
            instance::MOUSE.to_string(),
            "58f75a6d-d949-4320-99e1-a2a2576d581c"
        );
        assert_eq!(
            instance::HEARTBEAT.to_string(),
            "fd149e91-82e0-4a7d-afa6-2a4166cbd7c0"
        );
        assert_eq!(
            instance::TIME_SYNC.to_string(),
            "2dd1ce17-079e-403c-b352-a1921ee207ee"
        );
        assert_eq!(
            instance::SHUTDOWN.to_string(),
            "b6650ff7-33bc-4840-8048-e0676786f393"
        );
        assert_eq!(
            instance::KVP.to_string(),
            "242ff919-07db-4180-9c2e-b86cb68c8c55"
        );
        assert_eq!(
            instance::VSS.to_string(),
            "2450ee40-33bf-4fbd-892e-9fb06e9214cf"
        );
        assert_eq!(
            instance::FILE_COPY.to_string(),
            "eb765408-105f-49b6-b4aa-c123b64d17d4"
        );
        assert_eq!(
            instance::DYNAMIC_MEMORY.to_string(),
            "1eccfd72-4b41-45ef-b73a-4a6e44c12924"
        );
        assert_eq!(
            instance::ACTIVATION.to_string(),
            "4487b255-b88c-403f-bb51-d1f69cf17f87"
        );
    }

    #[test]
    fn names_are_found_and_unique() {
        assert_eq!(name(&SCSI), Some("SCSI controller"));
        assert_eq!(name(&Guid::ZERO), None);
        for (index, class) in ALL.iter().enumerate() {
            assert!(name(class).is_some());
            assert!(ALL.iter().skip(index + 1).all(|other| other != class));
        }
    }
}
