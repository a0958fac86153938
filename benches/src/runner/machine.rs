//! What the numbers were measured on: processor, kernel, versions, commit.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::runner::options::Options;
use crate::runner::process::Programs;

/// The head of the results page.
pub(super) fn describe(programs: &Programs, options: &Options) -> String {
    let size = if options.quick { "small sizes" } else { "full sizes" };
    let lines = [
        format!("- machine: {}, {} cores, {}", processor(), cores(), kernel()),
        format!("- {}", output("rustc", &["--version"])),
        format!("- peers: {}", peers()),
        format!("- Go: {}", programs.go_version()),
        format!("- gort: {}", commit()),
        format!("- {} rounds, {size}", options.rounds),
    ];
    lines.join("\n") + "\n"
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown processor").to_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

/// The peers' versions as the lock file has them.
fn peers() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(file).unwrap_or_default();
    let names = [
        "tokio",
        "smol",
        "async-executor",
        "async-channel",
        "async-io",
        "async-net",
        "crossbeam-channel",
        "may",
        "mio",
    ];
    let known = names.map(|name| match version(&lock, name) {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    });
    known.join(", ")
}

fn version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    entry.split('"').next()
}

fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    match (commit.as_str(), changed.as_str()) {
        ("unknown", _) => "unknown commit".to_owned(),
        (_, "") => format!("commit {commit}"),
        _ => format!("commit {commit}, with changes"),
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
