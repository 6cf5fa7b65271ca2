//! Links Debian's libnftables (package libnftables-dev).

fn main() {
    println!("cargo:rustc-link-lib=dylib=nftables");
    // libnftables and libmnl find those of src/send.rs before the C library's.
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=sendmsg,--export-dynamic-symbol=sendto");
    println!("cargo:rerun-if-changed=build.rs");
}
