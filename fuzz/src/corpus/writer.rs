//! The counterpart of a target's input: writes what the target will read.

#[derive(Clone, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Single bytes: a step and its small arguments.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// At most 255 bytes, after their number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u8::try_from(bytes.len()).expect("at most 255 bytes");
        self.put(&[length]).put(bytes)
    }

    /// At most 65,535 bytes, after their number.
    pub(super) fn long_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
        self.u16(length).put(bytes)
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}
