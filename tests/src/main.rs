//! `lab SCENARIO`: a broken node to look at. The same program makes the traffic and does the cleaning up,
//! so that there is one file to find.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((role, rest)) if role == lab::traffic::ROLE => lab::traffic::main(rest).map(|()| 0),
        Some((role, rest)) if role == lab::traffic::SERVICE => lab::traffic::serve(rest).map(|()| 0),
        Some((role, rest)) if role == lab::keeper::ROLE => lab::keeper::main(rest).map(|()| 0),
        Some((role, rest)) if role == lab::load::ROLE => lab::load::main(rest).map(|()| 0),
        Some((role, rest)) if role == lab::check::ROLE => lab::check::main(rest),
        Some((role, rest)) if role == lab::prove::ROLE => lab::prove::main(rest),
        _ => lab::cli::main(args),
    };
    match result {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(2)),
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}
