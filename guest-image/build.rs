//! Links the bare-metal image at the address where the host's loader expects it.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    let bare_metal = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none");
    if !bare_metal {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    for argument in [&format!("-T{folder}/link.ld"), "--no-pie", "--gc-sections"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
