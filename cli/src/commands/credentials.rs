//! `netengine credentials`.

use netengine_proto::api::{ProblemKind, WorldCredential};

use crate::{args::SecretKind, client::Client, failure::Failure, table::Table, ui::Ui};

/// Which secrets.
pub struct Query {
    /// The world.
    pub world: Option<String>,
    /// Of one kind.
    pub kind: Option<SecretKind>,
    /// Of one account, client or key.
    pub name: Option<String>,
}

/// Shows the secrets of a world to its owner.
///
/// # Errors
/// Class `not_found` when something was asked for that the world does not have; the daemon's problem.
pub async fn run(ui: &Ui, client: &Client, query: &Query) -> Result<u8, Failure> {
    let world = client.world(query.world.as_deref()).await?;
    let all: Vec<WorldCredential> = client.get(&format!("/worlds/{world}/credentials"), &[]).await?;
    let is_filtered = query.kind.is_some() || query.name.is_some();
    let found: Vec<WorldCredential> = all.into_iter().filter(|credential| is_meant(credential, query)).collect();
    if found.is_empty() && is_filtered {
        let what = format!("cannot show that secret of world \"{world}\"");
        let help = format!("`netengine credentials {world}` shows all it has");
        return Err(Failure::new(ProblemKind::NotFound, what, "the world has no such secret", help));
    }
    if ui.json {
        ui.print_json(&found)?;
    } else if found.is_empty() {
        ui.remark("no secrets");
    } else {
        ui.remark("these are secrets: whoever reads them can use them");
        ui.print(&render(&found, ui.color))?;
    }
    Ok(0)
}

fn is_meant(credential: &WorldCredential, query: &Query) -> bool {
    query.kind.is_none_or(|kind| credential.kind == word(kind))
        && query.name.as_ref().is_none_or(|name| credential.name == *name)
}

/// The word of the API.
fn word(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Password => "password",
        SecretKind::ClientSecret => "client_secret",
        SecretKind::RegistrationToken => "registration_token",
        SecretKind::Tsig => "tsig",
        SecretKind::AcmeEab => "acme_eab",
        SecretKind::AcmeAccount => "acme_account",
    }
}

fn render(credentials: &[WorldCredential], color: bool) -> String {
    let mut table = Table::new(&["KIND", "NAME", "SECRET", "ISSUER"]);
    for credential in credentials {
        table.row([&credential.kind, &credential.name, &credential.secret, &credential.issuer]);
    }
    table.render(color)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn credential(kind: &str, name: &str, issuer: &str) -> WorldCredential {
        WorldCredential { kind: kind.into(), issuer: issuer.into(), name: name.into(), secret: "s3cret".into() }
    }

    #[test]
    fn one_line_per_secret() {
        let all = [credential("password", "admin\u{1b}", "https://a/realms/p"), credential("tsig", "update.", "")];
        assert_eq!(
            render(&all, false),
            "KIND      NAME       SECRET  ISSUER\n\
             password  admin\\x1b  s3cret  https://a/realms/p\n\
             tsig      update.    s3cret\n"
        );
    }

    #[test]
    fn the_words_of_the_command_line_are_the_apis() {
        for kind in SecretKind::value_variants() {
            let shown = kind.to_possible_value().expect("is shown");
            assert_eq!(shown.get_name(), word(*kind));
        }
    }

    #[test]
    fn kind_and_name_must_both_fit() {
        let query = |kind, name: Option<&str>| Query { world: None, kind, name: name.map(Into::into) };
        let found = credential("tsig", "update.", "");
        assert!(is_meant(&found, &query(None, None)));
        assert!(is_meant(&found, &query(Some(SecretKind::Tsig), Some("update."))));
        assert!(!is_meant(&found, &query(Some(SecretKind::Password), Some("update."))));
        assert!(!is_meant(&found, &query(Some(SecretKind::Tsig), Some("update"))));
    }
}
