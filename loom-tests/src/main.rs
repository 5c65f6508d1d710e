//! Explores every model of the ring, and every mutant, which must fail.
//!
//! A model is a small program of two threads (three where the property needs them) on the real code of
//! `memring-ring`, built on loom: each interleaving is run, and each must have the model's property. A mutant is that
//! code with one line broken, chosen by name at run time; the model must fail on it, in the words that its
//! table says, or the model proves nothing. Each run is a process of its own, so that a failing one takes
//! nothing with it.
//!
//! Not here: what loom cannot see, the membarrier half of the asymmetric fence (that is the `stress`
//! binary), and what one thread can show alone (those are ordinary tests of the ring).

#[cfg(memring_loom)]
mod models;
#[cfg(memring_loom)]
mod run;

#[cfg(memring_loom)]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(memring_loom))]
fn main() {
    println!("The models are built on loom. To run them: ci/loom.sh, which is in essence");
    println!(
        "  RUSTFLAGS='--cfg memring_loom' cargo run --release -p memring-loom-tests -- --help"
    );
}
