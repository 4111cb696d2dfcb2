//! Writes the seeds of all targets into `corpus/`; what fuzzers have found there stays.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    let seeds = fuzz_targets::corpus::seeds();
    for seed in &seeds {
        let folder = corpus.join(seed.target);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(&seed.name);
        // Whoever watches the files sees only what has changed.
        if !std::fs::read(&path).is_ok_and(|content| content == seed.bytes) {
            std::fs::write(path, &seed.bytes)?;
        }
        bytes += seed.bytes.len();
    }
    println!("{} seeds, {bytes} bytes", seeds.len());
    Ok(())
}
