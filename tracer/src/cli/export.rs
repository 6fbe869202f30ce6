//! `tracer export`: a recording in a form that other tools take.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::trace::export::{End, Format, export};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The recording
    file: PathBuf,
    /// pcapng (Wireshark) or jsonl (one event a line)
    #[arg(long, default_value = "pcapng")]
    format: Format,
    /// Where to: a new file, or - for standard output
    #[arg(long, value_name = "PATH|-", default_value = "-")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut out: Box<dyn Write> = if arguments.out.as_os_str() == "-" {
        Box::new(BufWriter::new(std::io::stdout().lock()))
    } else {
        let file = File::create_new(&arguments.out).with_context(|| {
            format!(
                "{}: cannot be made; name a file that is not there yet",
                arguments.out.display()
            )
        })?;
        Box::new(BufWriter::new(file))
    };
    let exported = export(&arguments.file, arguments.format, &mut out)?;
    out.flush().context("the export cannot be written")?;
    match exported.end {
        End::Whole => {}
        End::Torn(torn) => eprintln!("tracer: {}: {torn}", arguments.file.display()),
        End::Broken(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}
