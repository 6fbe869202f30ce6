//! `tracer explain`: what a verdict means, by its id.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;

use super::output::{columns, print_until_asked};
use super::stop::Stop;
use crate::diagnosis;
use crate::ui::explain;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The id of a verdict, such as R01, or its name [default: all, a line each]
    #[arg(value_name = "ID")]
    id: Option<String>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let text = match &arguments.id {
        None => explain::list(columns()),
        Some(id) => {
            let rule = diagnosis::rule(id)
                .ok_or_else(|| anyhow!("no verdict is called {id:?}: `tracer explain` lists them all"))?;
            explain::page(rule, columns())
        }
    };
    print_until_asked(text, &mut stop).await?;
    Ok(ExitCode::SUCCESS)
}
