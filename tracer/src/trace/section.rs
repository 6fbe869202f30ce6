//! The head of a trace: the section, and the devices that packets were seen on.

use crate::event::Start;

use super::FORMAT;
use super::pcapng::{self, BYTE_ORDER_MAGIC, Body, INTERFACE, SECTION, code};

/// What marks a section as ours, in its comment; the version of the format follows.
const MARK: &str = "tracer trace, format ";

/// Appends the Section Header Block.
///
/// # Errors
/// The length, where it is too long for a block.
pub(super) fn write(out: &mut Vec<u8>, start: &Start) -> Result<(), usize> {
    pcapng::block(out, SECTION, |out| {
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        // The section's length is not known while it is being written.
        out.extend((-1_i64).to_le_bytes());
        pcapng::text(out, code::COMMENT, &format!("{MARK}{FORMAT}"));
        pcapng::text(out, code::SHB_HARDWARE, std::env::consts::ARCH);
        pcapng::text(out, code::SHB_OS, &format!("Linux {}", start.kernel));
        pcapng::text(out, code::SHB_USERAPPL, &format!("tracer {}", start.tracer));
        pcapng::end_options(out);
    })
}

/// Appends an Interface Description Block: timestamps in nanoseconds, packets with a cooked header.
///
/// # Errors
/// The length, where it is too long for a block.
pub(super) fn write_interface(
    out: &mut Vec<u8>,
    link: u16,
    snaplen: u32,
    name: &str,
    description: &str,
) -> Result<(), usize> {
    pcapng::block(out, INTERFACE, |out| {
        out.extend(link.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(snaplen.to_le_bytes());
        pcapng::text(out, code::IF_NAME, name);
        pcapng::text(out, code::IF_DESCRIPTION, description);
        pcapng::option(out, code::IF_TSRESOL, &[9]);
        pcapng::end_options(out);
    })
}

/// Whose a section is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours, in a version that this program reads.
    Ours,
    /// Ours, in a version that this program does not read.
    OtherFormat(String),
    /// Another program's, by the name that it gives itself.
    Foreign(String),
}

/// Says whose section this is; `None` where it contradicts itself.
pub(super) fn read(mut body: Body<'_>) -> Option<Whose> {
    let magic = body.u32()?;
    let major = body.u16()?;
    let _minor = body.u16()?;
    body.skip(size_of::<i64>())?;
    if magic != BYTE_ORDER_MAGIC {
        return None;
    }
    let mut writer = String::from("an unknown program");
    let mut format = None;
    for option in body.options() {
        match option? {
            (code::SHB_USERAPPL, name) => writer = String::from_utf8_lossy(name).into_owned(),
            (code::COMMENT, comment) => format = format.or_else(|| comment.strip_prefix(MARK.as_bytes())),
            _ => {}
        }
    }
    Some(match format {
        None => Whose::Foreign(writer),
        Some(format) if major == 1 && format == FORMAT.to_string().as_bytes() => Whose::Ours,
        Some(format) => Whose::OtherFormat(String::from_utf8_lossy(format).into_owned()),
    })
}
