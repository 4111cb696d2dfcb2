//! The guest image holds no instruction that an emulating KVM lacks.

mod kvm_support;

use std::collections::BTreeSet;
use std::process::Command;

use kvm_support::{image, skip};

/// Whole mnemonics.
const LACKING: [&str; 16] = [
    "popcnt",
    "crc32",
    "cmpxchg16b",
    "rdtscp",
    "andn",
    "mulx",
    "stac",
    "clac",
    "invpcid",
    "pdep",
    "pext",
    "bextr",
    "vmcall",
    "vmmcall",
    "lzcnt",
    "movbe",
];

/// Beginnings of the mnemonics of whole families: x87, state saving, AES and carry-less multiplication. Vector
/// instructions are known by their registers.
const LACKING_FAMILIES: [&str; 6] = ["f", "xsave", "xrstor", "aes", "pclmul", "sha"];

fn is_lacking(mnemonic: &str, operands: &str) -> bool {
    LACKING.contains(&mnemonic)
        || LACKING_FAMILIES
            .iter()
            .any(|family| mnemonic.starts_with(family))
        || ["%xmm", "%ymm", "%zmm", "%mm", "%st"]
            .iter()
            .any(|register| operands.contains(register))
}

#[test]
fn the_guest_image_runs_on_an_emulating_kvm() {
    const NAME: &str = "guest instructions";
    if image(NAME).is_none() {
        return;
    }
    let path = std::env::var_os("VIRIDIAN_GUEST").unwrap();
    let Ok(output) = Command::new("objdump")
        .args(["--disassemble", "--no-show-raw-insn", "--section=.text"])
        .arg(path)
        .output()
    else {
        skip(NAME, "objdump is not installed");
        return;
    };
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut instructions = 0;
    let mut lacking = BTreeSet::new();
    for line in text.lines() {
        // `  20006b:\tmov    %rsp,%rdi`
        let Some((_, instruction)) = line.split_once(":\t") else {
            continue;
        };
        instructions += 1;
        let (mut mnemonic, mut operands) = instruction.split_once(' ').unwrap_or((instruction, ""));
        while ["rep", "repz", "repnz", "lock", "data16", "cs"].contains(&mnemonic) {
            (mnemonic, operands) = operands.trim().split_once(' ').unwrap_or((operands, ""));
        }
        if is_lacking(mnemonic, operands) {
            lacking.insert(instruction);
        }
    }
    assert!(instructions > 1000, "{instructions} instructions were seen");
    assert!(lacking.is_empty(), "{lacking:#?}");
}
