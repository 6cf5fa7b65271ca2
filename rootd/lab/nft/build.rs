//! Links Debian's libnftables (package libnftables-dev).

fn main() {
    println!("cargo:rustc-link-lib=dylib=nftables");
    // libnftables finds the sendmsg of src/send.rs before the C library's.
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=sendmsg");
    println!("cargo:rerun-if-changed=build.rs");
}
