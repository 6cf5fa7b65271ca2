//! The direction of dependencies: what may not be linked where.

use std::process::Command;

/// Names of all crates that `package` links, features as built for it alone.
fn tree(package: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "-p",
            package,
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn linked<'a>(tree: &'a [String], forbidden: &[&str]) -> Vec<&'a String> {
    tree.iter()
        .filter(|name| forbidden.iter().any(|f| name.as_str() == *f || name.starts_with(&format!("{f}-"))))
        .collect()
}

/// YAML, HTTP servers, SQL, TLS.
const NOT_IN_ROOTD: &[&str] = &[
    "granit",
    "saphyr",
    "serde_yaml",
    "axum",
    "hyper",
    "tower",
    "http",
    "sqlx",
    "libsqlite3",
    "rusqlite",
    "rustls",
    "aws-lc",
    "ring",
    "openssl",
    "native-tls",
    "serde_json",
    "netengine-spec",
    "netengine-userd",
    "netengine-cli",
    "bincode",
    "clap",
];

#[test]
fn rootd_links_no_yaml_http_sql_or_tls() {
    let tree = tree("netengine-rootd");
    assert!(tree.iter().any(|name| name == "tarpc"), "the tree was not read: {tree:?}");
    assert_eq!(linked(&tree, NOT_IN_ROOTD), Vec::<&String>::new());
    // The check itself: it finds SQL where there is SQL.
    assert!(!linked(&self::tree("netengine-userd"), &["sqlx"]).is_empty());
}

#[test]
fn proto_is_a_leaf_and_worldd_has_no_way_to_rootd() {
    let ours =
        |package| tree(package).into_iter().filter(|n| n.starts_with("netengine") && n != package).collect::<Vec<_>>();
    assert_eq!(ours("netengine-proto"), Vec::<String>::new());
    let services = ["netengine-dhcp", "netengine-dns", "netengine-oidc", "netengine-pki", "netengine-registry"];
    let allowed = |name: &String| {
        services.contains(&name.as_str()) || ["netengine-proto", "netengine-spec"].contains(&name.as_str())
    };
    let foreign: Vec<_> = ours("netengine-worldd").into_iter().filter(|name| !allowed(name)).collect();
    assert_eq!(foreign, Vec::<String>::new());
    // The packets of a proof are built and read by a pure crate, in the firewall lab's words.
    let leaves = ["netengine-proto", "netengine-packet", "netengine-lab-proto"];
    let foreign: Vec<_> = ours("netengine-rootd").into_iter().filter(|name| !leaves.contains(&name.as_str())).collect();
    assert_eq!(foreign, Vec::<String>::new());
    assert!(!tree("netengine-worldd").iter().any(|name| name == "tarpc"), "worldd links the way to rootd");
}
