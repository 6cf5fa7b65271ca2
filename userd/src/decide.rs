//! `decide`: the only door to an effect.
//!
//! Every function of the store and the orchestrator that shows or touches something of somebody takes a [`Verdict`] by
//! value (or by reference, to read). A verdict has no public constructor, is bound to one action by its type and holds
//! the object it was given for, so what is acted on is what was judged:
//!
//! ```
//! use netengine_userd::{decide::{Verdict, WorldRef, act}, orchestrator::Orchestrator};
//! async fn remove(orchestrator: &Orchestrator, judged: Verdict<act::Down, WorldRef>) {
//!     let _ = orchestrator.down(judged, None).await;
//! }
//! ```
//!
//! A verdict for one action does not serve for another:
//!
//! ```compile_fail,E0308
//! use netengine_userd::{decide::{Verdict, WorldRef, act}, orchestrator::Orchestrator};
//! async fn remove(orchestrator: &Orchestrator, seen: Verdict<act::ViewWorld, WorldRef>) {
//!     let _ = orchestrator.down(seen, None).await;
//! }
//! ```
//!
//! It is spent by the call:
//!
//! ```compile_fail,E0382
//! use netengine_userd::{decide::{Verdict, WorldRef, act}, orchestrator::Orchestrator};
//! async fn remove(orchestrator: &Orchestrator, judged: Verdict<act::Down, WorldRef>) {
//!     let _ = orchestrator.down(judged, None).await;
//!     let _ = orchestrator.down(judged, None).await;
//! }
//! ```
//!
//! And it cannot be made by hand, so a route without a check cannot reach anything:
//!
//! ```compile_fail,E0451
//! use netengine_userd::decide::{Host, Principal, Verdict, act};
//! fn forge(principal: Principal) -> Verdict<act::ViewHost, Host> {
//!     Verdict { principal, object: Host, action: std::marker::PhantomData }
//! }
//! ```

use std::marker::PhantomData;

use netengine_proto::{
    ids::{FirewallTestId, OperationId, Uid, WorldId},
    names::WorldName,
};

/// Who asks: the uid the kernel reported when the connection was accepted, and which socket was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    uid: Uid,
    role: Role,
}

/// What a principal may do beyond its own objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Admin,
    Daemon,
}

impl Principal {
    /// A peer of `user.sock`.
    pub fn user(uid: Uid) -> Self {
        Self { uid, role: Role::User }
    }

    /// A peer of `admin.sock`.
    pub fn admin(uid: Uid) -> Self {
        Self { uid, role: Role::Admin }
    }

    /// userd itself, when it finishes or repairs what users began.
    pub(crate) fn daemon() -> Self {
        Self { uid: Uid::OVERFLOW, role: Role::Daemon }
    }

    /// Its uid.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Whether it came by `admin.sock`.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: facts about the host that every user of a socket may know.
    Host,
    /// This user's.
    User(Uid),
    /// Objects of all users together.
    Everyone,
}

/// Something that can be acted on.
pub trait Object {
    /// Whose it is.
    fn owner(&self) -> Owner;
}

/// The host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host;

impl Object for Host {
    fn owner(&self) -> Owner {
        Owner::Host
    }
}

/// A world that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldRef {
    /// Its id.
    pub id: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// Its name.
    pub name: WorldName,
}

impl Object for WorldRef {
    fn owner(&self) -> Owner {
        Owner::User(self.owner)
    }
}

/// The place of a world, taken or not: an owner and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSlot {
    /// Who owns or would own it.
    pub owner: Uid,
    /// The name.
    pub name: WorldName,
}

impl Object for WorldSlot {
    fn owner(&self) -> Owner {
        Owner::User(self.owner)
    }
}

/// An operation that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRef {
    /// Its id.
    pub id: OperationId,
    /// Whose world it is about.
    pub owner: Uid,
}

impl Object for OperationRef {
    fn owner(&self) -> Owner {
        Owner::User(self.owner)
    }
}

/// A run of firewall suites that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallTestRef {
    /// Its id.
    pub id: FirewallTestId,
    /// Who began it.
    pub owner: Uid,
}

impl Object for FirewallTestRef {
    fn owner(&self) -> Owner {
        Owner::User(self.owner)
    }
}

/// All objects of one user, or of all users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllOf(pub Option<Uid>);

impl Object for AllOf {
    fn owner(&self) -> Owner {
        self.0.map_or(Owner::Everyone, Owner::User)
    }
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Everyone who could connect, on objects of the host.
    Anyone,
    /// The owner, and administrators.
    OwnerOrAdmin,
    /// The owner alone, on either socket.
    Owner,
    /// userd itself.
    Daemon,
}

/// An action as a type.
pub trait Act {
    /// The action.
    const ACTION: Action;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident => $rule:ident),* $(,)?) => {
        /// Everything that can be done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $name),* }

        impl Action {
            /// All actions.
            pub const ALL: &'static [Action] = &[$(Action::$name),*];

            fn rule(self) -> Rule {
                match self { $(Action::$name => Rule::$rule),* }
            }
        }

        /// Each action as a type, so that a verdict for one cannot serve for another.
        pub mod act {
            use super::{Act, Action};
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy, PartialEq, Eq)]
                pub struct $name;
                impl Act for $name {
                    const ACTION: Action = Action::$name;
                }
            )*
        }
    };
}

actions! {
    /// Read the versions and this API's description.
    ViewVersion => Anyone,
    /// Read the checks of the host.
    ViewHost => Anyone,
    /// See what `up` would do.
    Plan => OwnerOrAdmin,
    /// Make a world or change it.
    Up => OwnerOrAdmin,
    /// Remove a world.
    Down => OwnerOrAdmin,
    /// List worlds.
    ListWorlds => OwnerOrAdmin,
    /// Read a world's state.
    ViewWorld => OwnerOrAdmin,
    /// Run a command in a world.
    Exec => OwnerOrAdmin,
    /// Read a world's logs.
    ViewLogs => OwnerOrAdmin,
    /// List and read certificates of a world's authority.
    ViewCertificates => OwnerOrAdmin,
    /// Read what clients of a world trust.
    ViewTrust => OwnerOrAdmin,
    /// Read the secrets of a world.
    ViewCredentials => Owner,
    /// Run all live checks of a world.
    Diagnose => OwnerOrAdmin,
    /// Have every flow of a world proven.
    Prove => OwnerOrAdmin,
    /// Read what others changed in a world.
    ViewDrift => OwnerOrAdmin,
    /// Read an operation.
    ViewOperation => OwnerOrAdmin,
    /// Cancel an operation.
    CancelOperation => OwnerOrAdmin,
    /// Read events.
    ViewEvents => OwnerOrAdmin,
    /// Have firewall suites read, and their rulesets loaded in a sandbox of the owner.
    ValidateFirewallSuites => Owner,
    /// Run firewall suites in sandboxes of the owner.
    RunFirewallTests => Owner,
    /// Run one firewall case in a sandbox of the owner.
    RunFirewallCase => Owner,
    /// Read a run of firewall suites.
    ViewFirewallTest => OwnerOrAdmin,
    /// End a run of firewall suites.
    CancelFirewallTest => OwnerOrAdmin,
    /// Finish what was interrupted and restore what broke.
    Repair => Daemon,
}

/// The right to do one action on one object, once.
#[must_use = "a verdict is spent by the call it was asked for"]
#[derive(Debug)]
pub struct Verdict<A, O> {
    principal: Principal,
    object: O,
    action: PhantomData<A>,
}

impl<A: Act, O> Verdict<A, O> {
    /// What may be acted on.
    pub fn object(&self) -> &O {
        &self.object
    }

    /// Who was judged.
    pub fn principal(&self) -> Principal {
        self.principal
    }
}

/// Not allowed. Carries nothing: absent and foreign objects are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not allowed")]
pub struct Denied;

/// Judges whether `principal` may do `action` on `object`. Denies what no rule allows.
///
/// # Errors
/// [`Denied`]; the caller answers as if the object did not exist.
pub fn decide<A: Act, O: Object>(principal: Principal, action: A, object: O) -> Result<Verdict<A, O>, Denied> {
    let _ = action;
    let allowed = match (A::ACTION.rule(), object.owner(), principal.role) {
        (Rule::Anyone, Owner::Host, Role::User | Role::Admin) => true,
        (Rule::OwnerOrAdmin, Owner::User(_) | Owner::Everyone, Role::Admin) => true,
        (Rule::OwnerOrAdmin, Owner::User(owner), Role::User) => owner == principal.uid,
        (Rule::Owner, Owner::User(owner), Role::User | Role::Admin) => owner == principal.uid,
        (Rule::Daemon, Owner::User(_), Role::Daemon) => true,
        _ => false,
    };
    // What every unmapped user looks like is nobody in particular, so it owns nothing and administers nothing.
    let somebody = principal.uid != Uid::OVERFLOW || principal.role == Role::Daemon;
    if allowed && somebody { Ok(Verdict { principal, object, action: PhantomData }) } else { Err(Denied) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Uid = Uid(1000);
    const BOB: Uid = Uid(1001);

    fn slot(owner: Uid) -> WorldSlot {
        WorldSlot { owner, name: WorldName::parse("w").expect("a name") }
    }

    #[test]
    fn a_user_reaches_own_objects_only() {
        assert!(decide(Principal::user(ALICE), act::Down, slot(ALICE)).is_ok());
        assert!(decide(Principal::user(ALICE), act::Down, slot(BOB)).is_err());
        assert!(decide(Principal::user(Uid::ROOT), act::Down, slot(BOB)).is_err(), "the socket decides, not uid 0");
        assert!(decide(Principal::admin(ALICE), act::Down, slot(BOB)).is_ok());
        assert!(decide(Principal::user(ALICE), act::ViewEvents, AllOf(None)).is_err());
        assert!(decide(Principal::admin(ALICE), act::ViewEvents, AllOf(None)).is_ok());
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        for principal in [Principal::user(ALICE), Principal::admin(ALICE)] {
            assert!(decide(principal, act::ViewCredentials, slot(ALICE)).is_ok());
            assert!(decide(principal, act::ViewCredentials, slot(BOB)).is_err());
        }
    }

    #[test]
    fn the_overflow_uid_is_never_a_principal() {
        for principal in [Principal::user(Uid::OVERFLOW), Principal::admin(Uid::OVERFLOW)] {
            assert!(decide(principal, act::ViewVersion, Host).is_err());
            assert!(decide(principal, act::Up, slot(Uid::OVERFLOW)).is_err());
        }
    }

    #[test]
    fn nobody_but_the_daemon_repairs() {
        assert!(decide(Principal::user(ALICE), act::Repair, slot(ALICE)).is_err());
        assert!(decide(Principal::admin(ALICE), act::Repair, slot(ALICE)).is_err());
        assert!(decide(Principal::daemon(), act::Repair, slot(ALICE)).is_ok());
        assert!(decide(Principal::daemon(), act::Up, slot(ALICE)).is_err(), "deny by default");
    }
}
