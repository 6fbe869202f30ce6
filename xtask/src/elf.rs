//! Just enough ELF to see whether a program is static.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// Type of the segment that names the dynamic loader (`PT_INTERP`, elf(5)).
const INTERPRETER: u32 = 3;

/// Whether a program runs without a dynamic loader.
///
/// # Errors
/// If it cannot be read, or is no 64-bit little-endian ELF file.
pub(crate) fn is_static_file(program: &Path) -> Result<bool> {
    let file = fs::read(program).with_context(|| format!("{}: cannot be read", program.display()))?;
    is_static(&file).with_context(|| program.display().to_string())
}

/// The same of a file's content.
fn is_static(file: &[u8]) -> Result<bool> {
    // Magic, class 2 (64 bits), data 1 (little endian).
    if file.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) {
        bail!("is no 64-bit little-endian ELF file");
    }
    let short = "its ELF header is cut off";
    // Elf64_Ehdr: e_phoff at 32, e_phentsize at 54, e_phnum at 56.
    let table = usize::try_from(u64::from_le_bytes(bytes(file, 32).context(short)?))?;
    let size = usize::from(u16::from_le_bytes(bytes(file, 54).context(short)?));
    let count = usize::from(u16::from_le_bytes(bytes(file, 56).context(short)?));
    for index in 0..count {
        let at = table.checked_add(index * size).context(short)?;
        // Elf64_Phdr: p_type at 0.
        if u32::from_le_bytes(bytes(file, at).context("its program headers are cut off")?) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and program headers of these types.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(types.len()).unwrap().to_le_bytes());
        for kind in types {
            file.extend(kind.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        assert!(is_static(&elf(&[1, 2, 6])).unwrap());
        assert!(!is_static(&elf(&[6, 3, 1])).unwrap());
    }

    #[test]
    fn this_test_program_is_read_as_it_is() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&own).unwrap(), cfg!(target_feature = "crt-static"));
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = elf(&[1, 1, 1]);
        for length in 0..whole.len() - 52 {
            assert!(is_static(&whole[..length]).is_err(), "{length} bytes");
        }
        let mut wild = elf(&[1]);
        wild[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(is_static(&wild).is_err());
        assert!(is_static(b"#!/bin/sh").is_err());
    }
}
