//! The few pieces of pcapng that a trace is made of: blocks and their options, as bytes.
//!
//! Source: draft-ietf-opsawg-pcapng (IETF), sections 3 and 4. Traces are little-endian.

/// Block type of a Section Header Block, the same in either byte order.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
/// Block type of an Interface Description Block.
pub(super) const INTERFACE: u32 = 1;
/// Block type of an Enhanced Packet Block.
pub(super) const PACKET: u32 = 6;
/// Block type of a systemd Journal Export Block.
pub(super) const JOURNAL: u32 = 9;

/// First word of a section's body; read the other way round in the other byte order.
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Bytes that frame the body of a block: type, length, and length again.
pub(super) const FRAME: usize = 12;
/// Bytes that a block of a trace may have. Bounds what a damaged file can make the reader hold.
pub(super) const MAX_BLOCK: usize = 4 << 20;

/// Option codes. Codes from 2 on depend on the type of the block.
pub(super) mod code {
    /// Ends the options.
    pub(crate) const END: u16 = 0;
    /// A comment, in any block.
    pub(crate) const COMMENT: u16 = 1;
    /// Section: the hardware.
    pub(crate) const SHB_HARDWARE: u16 = 2;
    /// Section: the operating system.
    pub(crate) const SHB_OS: u16 = 3;
    /// Section: the program that wrote it.
    pub(crate) const SHB_USERAPPL: u16 = 4;
    /// Interface: its name.
    pub(crate) const IF_NAME: u16 = 2;
    /// Interface: its description.
    pub(crate) const IF_DESCRIPTION: u16 = 3;
    /// Interface: the resolution of its timestamps, as a negative power of ten.
    pub(crate) const IF_TSRESOL: u16 = 9;
    /// Packet: the direction and more, as bits.
    pub(crate) const EPB_FLAGS: u16 = 2;
}

/// Appends a block to `out`; `body` appends what is inside.
///
/// # Errors
/// The length that the block would have, where that is more than [`MAX_BLOCK`]; `out` is as it was.
pub(super) fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), usize> {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    pad(out, start);
    let length = out.len() - start + 4;
    match u32::try_from(length) {
        Ok(word) if length <= MAX_BLOCK => {
            out[start + 4..start + 8].copy_from_slice(&word.to_le_bytes());
            out.extend(word.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(length)
        }
    }
}

/// Appends bytes and their padding to a multiple of four.
pub(super) fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.extend(bytes);
    pad(out, start);
}

/// Appends an option. A text longer than an option can be (65,535 bytes) is cut.
pub(super) fn text(out: &mut Vec<u8>, code: u16, text: &str) {
    option(
        out,
        code,
        &text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))],
    );
}

/// Appends an option. Bytes beyond 65,535 are cut; see [`text`] for the only ones that could be that long.
pub(super) fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend(code.to_le_bytes());
    out.extend(length.to_le_bytes());
    padded(out, &value[..usize::from(length)]);
}

/// Appends the end of the options.
pub(super) fn end_options(out: &mut Vec<u8>) {
    option(out, code::END, &[]);
}

fn pad(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start).next_multiple_of(4);
    out.resize(start + length, 0);
}

/// The body of a block that is being read.
#[derive(Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    /// Takes two bytes, `None` where they are not there.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().copied().map(u16::from_le_bytes)
    }

    /// Takes four bytes, `None` where they are not there.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().copied().map(u32::from_le_bytes)
    }

    /// Takes bytes and their padding, `None` where they are not there.
    pub(super) fn padded(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length.checked_next_multiple_of(4)?)?;
        self.0 = rest;
        bytes.get(..length)
    }

    /// Skips bytes, `None` where they are not there.
    pub(super) fn skip(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(length..)?;
        Some(())
    }

    /// What is left as options, each a code and a value; `None` for one that does not fit, and then the end.
    pub(super) fn options(mut self) -> impl Iterator<Item = Option<(u16, &'a [u8])>> {
        std::iter::from_fn(move || {
            if self.0.is_empty() {
                return None;
            }
            let option = self.option();
            match option {
                Some((code::END, _)) => return None,
                Some(_) => {}
                None => self.0 = &[],
            }
            Some(option)
        })
    }

    fn option(&mut self) -> Option<(u16, &'a [u8])> {
        let code = self.u16()?;
        let length = self.u16()?;
        Some((code, self.padded(usize::from(length))?))
    }

    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }
}
