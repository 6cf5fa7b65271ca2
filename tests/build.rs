//! `lab-floor`, the bench's bare loop, links Debian's libnftables as netengine-nft does. Nothing of this package is shipped.

fn main() {
    println!("cargo:rustc-link-arg-bin=lab-floor=-lnftables");
    println!("cargo:rerun-if-changed=build.rs");
}
