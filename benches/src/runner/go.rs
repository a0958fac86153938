//! Go, where it is installed: `GORT_BENCH_GO` names its `go` program, else the one on `PATH` is used.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The built Go twin of the workloads.
#[derive(Debug)]
pub(super) struct Go {
    pub(super) program: PathBuf,
    pub(super) version: String,
}

impl Go {
    /// Finds Go and builds `go/` into `folder`.
    pub(super) fn build(folder: &Path) -> Result<Self, String> {
        let go = env::var("GORT_BENCH_GO").unwrap_or_else(|_| "go".to_owned());
        let version = run(Command::new(&go).arg("version"))?;
        let program = folder.join("bench_go");
        let mut build = Command::new(&go);
        build
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
            .env("GOPROXY", "off")
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local");
        run(&mut build)?;
        let version = version.trim_start_matches("go version ").to_owned();
        Ok(Self { program, version })
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
