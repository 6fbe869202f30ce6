//! Entries in the Journal Export Format, one to a block.
//!
//! Source: <https://systemd.io/JOURNAL_EXPORT_FORMATS/>. A text field is `NAME=value` and a newline; one
//! that may hold newlines is `NAME`, a newline, its length as 64 bits little-endian, the value and a
//! newline; an empty line ends the entry. A pcapng block pads it with zeros to a multiple of four.

/// An entry that is being written.
pub(super) struct Entry<'a>(&'a mut Vec<u8>);

impl<'a> Entry<'a> {
    /// Appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// Appends a text field. Control characters, which a text field cannot hold, become spaces.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.0.extend(name.as_bytes());
        self.0.push(b'=');
        // Control characters are all of one byte in UTF-8 but U+0080…U+009F, which journald lets be.
        self.0.extend(
            value
                .bytes()
                .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
        );
        self.0.push(b'\n');
    }

    /// Ends the entry.
    pub(super) fn end(self) {
        self.0.push(b'\n');
    }
}

/// The value of a field in an entry.
///
/// # Errors
/// What contradicts the format.
pub(super) fn field<'a>(mut entry: &'a [u8], wanted: &str) -> Result<Option<&'a [u8]>, &'static str> {
    loop {
        let Some(end) = entry.iter().position(|byte| *byte == b'\n') else {
            // The padding, or an entry that lacks its end: the field is not in it.
            return if entry.iter().all(|byte| *byte == 0) {
                Ok(None)
            } else {
                Err("a journal entry ends within a field")
            };
        };
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        let (name, value, rest) = match line.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&line[..equals], &line[equals + 1..], rest),
            None if line.is_empty() => (line, line, rest),
            None => {
                let (value, rest) = binary(rest).ok_or("a journal field is longer than its entry")?;
                (line, value, rest)
            }
        };
        if name == wanted.as_bytes() {
            return Ok(Some(value));
        }
        entry = rest;
    }
}

/// Takes the length, the value and the newline of a binary field.
fn binary(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = field.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((value, rest.strip_prefix(b"\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_among_others() {
        let mut out = Vec::new();
        let mut entry = Entry::new(&mut out);
        entry.field("MESSAGE", "two\nlines → one = line");
        entry.field("TRACER_EVENT", "{}");
        entry.end();
        assert_eq!(
            out,
            "MESSAGE=two lines → one = line\nTRACER_EVENT={}\n\n".as_bytes()
        );
        out.extend([0, 0]);
        assert_eq!(field(&out, "TRACER_EVENT"), Ok(Some(&b"{}"[..])));
        assert_eq!(field(&out, "UNIT"), Ok(None));
    }

    #[test]
    fn binary_fields_are_read() {
        let entry = b"A\n\x03\0\0\0\0\0\0\0x\ny\nTRACER_EVENT\n\x02\0\0\0\0\0\0\0{}\n\n";
        assert_eq!(field(entry, "TRACER_EVENT"), Ok(Some(&b"{}"[..])));
        assert_eq!(field(entry, "A"), Ok(Some(&b"x\ny"[..])));
    }

    #[test]
    fn lengths_are_not_believed() {
        let long = b"A\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n";
        assert_eq!(field(long, "A"), Err("a journal field is longer than its entry"));
        assert_eq!(field(b"A=1", "A"), Err("a journal entry ends within a field"));
        assert_eq!(field(b"", "A"), Ok(None));
    }
}
