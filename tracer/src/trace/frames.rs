//! Cuts a file into blocks, and tells its end, a torn tail and damage apart.
//!
//! Nothing of the file is believed: a length is checked before it is used, and no more is held than
//! one block of at most [`MAX_BLOCK`] bytes.

use std::io::{self, BufRead, Read};

use super::pcapng::{BYTE_ORDER_MAGIC, Body, FRAME, MAX_BLOCK, SECTION};

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole block, by type, with its body.
    Block(u32, &'a [u8]),
    /// The file ends here.
    End,
    /// The file was cut off: so many bytes are left that are no whole block.
    Torn(u64),
}

/// Why no block can be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    Read(io::Error),
    /// The file contradicts itself.
    Damaged(String),
}

/// What a file begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A section in our byte order.
    Section,
    /// A section in the other byte order.
    OtherByteOrder,
    /// A section that is cut off after so many bytes.
    Cut(u64),
    /// Something else.
    Other,
}

/// The blocks of a file.
#[derive(Debug)]
pub(super) struct Frames<R> {
    source: R,
    offset: u64,
    block: Vec<u8>,
}

impl<R: BufRead> Frames<R> {
    /// Of a file that stands at its beginning.
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            block: Vec::new(),
        }
    }

    /// Bytes of the file that were whole blocks so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Looks at the beginning without taking anything. To be called first.
    pub(super) fn head(&mut self) -> io::Result<Head> {
        let mut head = self.source.fill_buf()?;
        head = &head[..head.len().min(FRAME)];
        let kind = SECTION.to_le_bytes();
        let shown = head.len().min(kind.len());
        if head[..shown] != kind[..shown] {
            return Ok(Head::Other);
        }
        Ok(match head.get(8..FRAME) {
            None => Head::Cut(head.len() as u64),
            Some(magic) if magic == BYTE_ORDER_MAGIC.to_le_bytes() => Head::Section,
            Some(magic) if magic == BYTE_ORDER_MAGIC.to_be_bytes() => Head::OtherByteOrder,
            Some(_) => Head::Other,
        })
    }

    /// Takes the next block.
    ///
    /// # Errors
    /// See [`Fault`]; the offset is that of the block which could not be read.
    pub(super) fn next(&mut self) -> Result<Frame<'_>, Fault> {
        self.block.clear();
        self.fill(8)?;
        let mut header = Body(&self.block);
        let (Some(kind), Some(claimed)) = (header.u32(), header.u32()) else {
            return Ok(match self.block.len() {
                0 => Frame::End,
                left => Frame::Torn(left as u64),
            });
        };
        // A file system may have grown the file before a crash, and not have filled it.
        if kind == 0 && claimed == 0 {
            return self.zeros("a block has neither type nor length");
        }
        let length = claimed as usize;
        if !(FRAME..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
            return Err(Fault::Damaged(format!(
                "a block of type {kind:#x} claims a length of {length} bytes"
            )));
        }
        let read = self.fill(length)?;
        if read < length {
            return Ok(Frame::Torn(read as u64));
        }
        match Body(&self.block[length - 4..]).u32() {
            Some(again) if again == claimed => {}
            Some(0) => return self.zeros("a block ends without its length"),
            _ => return Err(Fault::Damaged("the two lengths of a block differ".into())),
        }
        self.offset += length as u64;
        Ok(Frame::Block(kind, &self.block[8..length - 4]))
    }

    /// Reads on until `length` bytes of the block are here, or the file ends.
    fn fill(&mut self, length: usize) -> Result<usize, Fault> {
        let missing = length.saturating_sub(self.block.len()) as u64;
        self.source
            .by_ref()
            .take(missing)
            .read_to_end(&mut self.block)
            .map_err(Fault::Read)?;
        Ok(self.block.len())
    }

    /// A tail that nothing but zeros follows is torn; else it is damaged.
    fn zeros(&mut self, what: &str) -> Result<Frame<'_>, Fault> {
        let mut left = self.block.len() as u64;
        loop {
            let more = self.source.fill_buf().map_err(Fault::Read)?;
            if more.is_empty() {
                return Ok(Frame::Torn(left));
            }
            if more.iter().any(|byte| *byte != 0) {
                return Err(Fault::Damaged(what.into()));
            }
            let length = more.len();
            left += length as u64;
            self.source.consume(length);
        }
    }
}
