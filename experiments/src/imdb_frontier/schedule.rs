//! `--plan --format commands`: a study as commands for a cluster's scheduler.
//!
//! ```text
//! stages           -                    cd DIR && experiments imdb-frontier ... --stages-only
//! dpo-beta0.1-s1   stages               cd DIR && experiments run OUT dpo-beta0.1-s1 ...
//! gather           dpo-beta0.1-s1,...   cd DIR && experiments gather OUT
//! ```
//!
//! with tabs between the columns, and no line before those that it waits for. Each command stands for itself
//! in any POSIX shell, and does nothing if its work is finished, so that a scheduler may call it again.

use std::ffi::OsStr;
use std::io::Write;

use anyhow::{Context, Result};

use crate::cli::FrontierOptions;
use crate::exit::BadInput;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::preset::folder_of;

/// The line of all stages.
const STAGES: &str = "stages";
/// The line of the report.
const GATHER: &str = "gather";
/// A run has one thread, as `imdb-frontier` gives it one, unless the scheduler says otherwise.
const THREADS: &str = "RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-1}";

/// Prints the commands on standard output.
pub fn print(plan: &Plan, options: &FrontierOptions) -> Result<()> {
    let here = std::env::current_dir().context("the working folder")?;
    let program = std::env::current_exe().context("the path of this program")?;
    let out = options.out.clone().unwrap_or_else(|| folder_of(&options.preset));
    // Paths may be relative, also those inside a preset: they are seen from here.
    let prefix = format!("cd {} &&", word(here.as_os_str())?);
    let (program, out) = (word(program.as_os_str())?, word(out.as_os_str())?);
    let device = &options.study.device;
    let device =
        format!("--device {} --precision {}", word(device.device.to_string().as_ref())?, device.precision);
    let mut stdout = std::io::stdout().lock();

    let study = study(options)?;
    writeln!(
        stdout,
        "{STAGES}\t-\t{prefix} {program} imdb-frontier {study} --out {out} {device} --stages-only"
    )?;
    for run in &plan.runs {
        let name = &run.name;
        let call = format!("{program} run {out} {name} {device}");
        writeln!(stdout, "{name}\t{STAGES}\t{prefix} {THREADS} {call}")?;
    }
    let runs: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
    writeln!(stdout, "{GATHER}\t{}\t{prefix} {program} gather {out}", runs.join(","))?;
    Ok(())
}

/// What makes the study what it is: preset, overrides, data, evidence.
fn study(options: &FrontierOptions) -> Result<String> {
    let mut words = vec!["--preset".to_owned(), word(options.preset.as_ref())?];
    words.extend(["--data".to_owned(), word(options.study.data.to_string().as_ref())?]);
    for entry in &options.study.overrides {
        words.extend(["--set".to_owned(), word(entry.as_ref())?]);
    }
    if let Some(evidence) = &options.evidence {
        words.extend(["--evidence".to_owned(), word(evidence.as_os_str())?]);
    }
    Ok(words.join(" "))
}

/// An argument as one word of a POSIX shell.
fn word(text: &OsStr) -> Result<String> {
    let refuse = |why| BadInput(format!("--format commands: found {why} in {}", text.display()));
    let text = text.to_str().ok_or_else(|| refuse("bytes that are not UTF-8"))?;
    if text.contains('\n') {
        return Err(refuse("a line break").into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_as_it_was() {
        for text in ["", "plain-1.5", "two words", "it's", "$HOME `x` \"y\" \\ ~ *", "a=[1, 2]", "tab\there"]
        {
            let printed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", word(text.as_ref()).unwrap())])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
        }
        assert!(word("two\nlines".as_ref()).is_err());
    }
}
