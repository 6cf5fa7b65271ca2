//! Links Debian's libnftables (package libnftables-dev).

fn main() {
    println!("cargo:rustc-link-lib=dylib=nftables");
    println!("cargo:rerun-if-changed=build.rs");
}
