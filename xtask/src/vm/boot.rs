//! Running a kernel in QEMU, without hardware virtualisation: it is not everywhere, and all kernels run without.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::process;

/// The program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// How long the machine may be silent. A boot and most scenarios take some 20 s, those of full load some minutes; a
/// machine under load is many times slower.
const PATIENCE: Duration = Duration::from_secs(900);

/// Of the kernel's command line: the console, no reboot after a panic, and what makes the emulation faster and its
/// clock steady.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on";

/// A machine that runs. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Child,
    /// What is written to its second serial port.
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    /// Starts a kernel with an initramfs, on so many processors. Its console goes to `console.log` in the kernel's folder.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(kernel: &Kernel, initramfs: &Path, processors: u8) -> Result<Self> {
        let console = kernel.folder().join("console.log");
        fs::write(&console, "").with_context(|| format!("{}: cannot be written", console.display()))?;
        // It does not outlive this process, however that ends. And one thread does for all its processors: with more,
        // QEMU 7.2 was seen to run an `int3` that another processor had taken back already, where the kernel switches
        // a tracepoint off, and the kernel panicked.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        command.args(["-accel", "tcg,thread=single", "-cpu", "max", "-machine", "q35"]);
        // Its clock goes by what it has done, a nanosecond for each instruction, and not by how fast this machine is
        // just now: so what is timed in it is the same under any load. Where it waits for a timer its clock goes there
        // at once.
        command.args(["-icount", "shift=0,sleep=off"]);
        command.args(["-m", "1024", "-smp", &processors.to_string()]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-kernel").arg(kernel.image()?);
        command.arg("-initrd").arg(initramfs);
        command.args(["-append", COMMAND_LINE]);
        // The first serial port and the second.
        command.args([
            "-serial",
            &format!("file:{}", console.display()),
            "-serial",
            "stdio",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut qemu = command
            .spawn()
            .map_err(|error| process::cannot_start(&command, &error))?;
        let output = qemu.stdout.take().context("qemu: has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // It ends with the machine, or when nobody listens any more.
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu, lines, console })
    }

    /// The next line that the machine writes to its second serial port; none where it has ended.
    ///
    /// # Errors
    /// If it is silent for too long.
    pub(crate) fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!(
                "says nothing for {} s: its kernel stands still, or this machine has too much else to do",
                PATIENCE.as_secs()
            ),
        }
    }

    /// Where what the kernel says is kept.
    pub(crate) fn console(&self) -> &Path {
        &self.console
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended is not killed again by these.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
