//! Tests of what a whole process has: its descriptors, its memory.

use std::process::Command;

/// Runs one test of this program alone, in a process of its own; true in that process.
pub fn alone(test: &str) -> bool {
    const MARK: &str = "TENANTRY_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let me = std::env::current_exe().unwrap();
    let mut child = Command::new(me);
    child.args(["--exact", test, "--nocapture"]).env(MARK, "1");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && ran, "{said}");
    false
}
