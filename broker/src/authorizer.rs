//! `kafka.security.authorizer.AclAuthorizer`: the ACLs of ZooKeeper, a copy of them to decide by, and changes of both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use broker_core::acl::{
    Acls, Binding, BindingError, Entry, Filter, Operation, Principal, PrincipalError, Resource, ResourceType,
    Who,
};
use tokio::sync::{oneshot, watch};
use wire::kafka::ErrorCode;

use crate::zk::acls::watch_acls;
use crate::zk::{Zk, ZkError, catch_up, may_follow_again};

/// The value of `authorizer.class.name` that is known.
pub const ACL_AUTHORIZER: &str = "kafka.security.authorizer.AclAuthorizer";

/// How often a change is tried when others change the same ACLs, and the pause between.
const RETRIES_MAX: usize = 10;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why ACLs could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum AclError {
    #[error(transparent)]
    Binding(#[from] BindingError),
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    #[error("Failed to update ACLs for {0} after trying a maximum of {RETRIES_MAX} times")]
    Contended(Resource),
}

impl AclError {
    /// As clients are told: only what is their mistake has a text.
    pub fn answer(&self) -> (ErrorCode, Option<&'static str>) {
        match self {
            AclError::Binding(_) => (ErrorCode::INVALID_REQUEST, Some("Failed to create ACL")),
            _ => (ErrorCode::UNKNOWN_SERVER_ERROR, None),
        }
    }
}

/// What the configuration says of authorization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub super_users: BTreeSet<Principal>,
    pub allow_if_none: bool,
}

/// Decides, and changes what it decides by.
pub struct Authorizer {
    settings: Settings,
    acls: RwLock<Acls>,
    /// Held by whoever brings ZooKeeper's state into the copy, so that no older state overtakes a newer one.
    changing: tokio::sync::Mutex<()>,
    /// Its own session; `None`: the broker's is its, too.
    own: RwLock<Option<Zk>>,
}

/// An ACL that was to be deleted, and what went wrong with that.
pub type Deleted = (Binding, Option<Arc<AclError>>);

impl Authorizer {
    /// One that knows no ACLs yet.
    pub fn new(settings: Settings) -> Authorizer {
        let acls = RwLock::new(Acls::new(settings.super_users.clone(), settings.allow_if_none));
        Authorizer { settings, acls, changing: tokio::sync::Mutex::default(), own: RwLock::default() }
    }

    fn read<T>(&self, with: impl FnOnce(&Acls) -> T) -> T {
        with(&self.acls.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, resource: &Resource, entries: BTreeSet<Entry>) {
        self.acls.write().unwrap_or_else(PoisonError::into_inner).set(resource, entries);
    }

    /// From now on ACLs are kept in this session, and not in the broker's.
    pub fn set_session(&self, zk: Zk) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Some(zk);
    }

    /// The session in which ACLs are kept, given the broker's.
    pub fn session(&self, of_broker: Zk) -> Zk {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(of_broker)
    }

    /// Whether `who` may do this.
    pub fn allows(&self, who: Who<'_>, operation: Operation, kind: ResourceType, name: &str) -> bool {
        self.read(|acls| acls.allows(who, operation, kind, name))
    }

    /// Whether `who` may do this on some resource of that kind.
    pub fn allows_on_some(&self, who: Who<'_>, operation: Operation, kind: ResourceType) -> bool {
        self.read(|acls| acls.allows_on_some(who, operation, kind))
    }

    /// The ACLs that a filter means, as far as is known here.
    pub fn matching(&self, filter: &Filter) -> Vec<Binding> {
        self.read(|acls| acls.matching(filter))
    }

    /// Reads all ACLs anew.
    pub async fn load(&self, zk: &Zk) -> Result<(), ZkError> {
        let _changing = self.changing.lock().await;
        let mut acls = Acls::new(self.settings.super_users.clone(), self.settings.allow_if_none);
        for (resource, entries) in zk.all_acls().await? {
            acls.set(&resource, entries);
        }
        *self.acls.write().unwrap_or_else(PoisonError::into_inner) = acls;
        Ok(())
    }

    /// Reads the ACLs of one resource anew.
    async fn reload(&self, zk: &Zk, resource: &Resource) -> Result<(), ZkError> {
        let _changing = self.changing.lock().await;
        let stored = zk.acls(resource).await?;
        tracing::info!("Processing Acl change notification for {resource}, {} ACLs", stored.entries.len());
        self.set(resource, stored.entries);
        Ok(())
    }

    /// Stores ACLs; the results are in the order of `bindings`.
    pub async fn create(&self, zk: &Zk, bindings: &[Binding]) -> Vec<Result<(), Arc<AclError>>> {
        let mut results: Vec<Result<(), Arc<AclError>>> = Vec::with_capacity(bindings.len());
        let mut by_resource: BTreeMap<&Resource, Vec<usize>> = BTreeMap::new();
        for (at, binding) in bindings.iter().enumerate() {
            let checked = binding.check();
            if checked.is_ok() {
                by_resource.entry(&binding.resource).or_default().push(at);
            }
            results.push(checked.map_err(|error| Arc::new(error.into())));
        }
        let _changing = self.changing.lock().await;
        for (resource, all) in by_resource {
            let added = || all.iter().map(|at| bindings[*at].entry.clone());
            let stored = match added().find_map(|entry| entry.parse_principal().err()) {
                Some(error) => Err(AclError::Principal(error)),
                None => self.change(zk, resource, |entries| entries.extend(added())).await,
            };
            if let Err(error) = stored {
                tracing::error!("{error}");
                let error = Arc::new(error);
                all.iter().for_each(|at| results[*at] = Err(error.clone()));
            }
        }
        results
    }

    /// Deletes the ACLs that the filters mean; an ACL is told of under the first filter that means it.
    pub async fn delete(&self, zk: &Zk, filters: &[Filter]) -> Vec<Vec<Deleted>> {
        let mut results: Vec<Vec<Deleted>> = filters.iter().map(|_| Vec::new()).collect();
        let _changing = self.changing.lock().await;
        let mut resources: BTreeSet<Resource> = self.read(|acls| acls.resources().collect());
        resources.extend(filters.iter().flat_map(|filter| filter.resource.named()));
        for resource in resources {
            let means = |filter: &Filter| filter.resource.matches(&resource);
            if !filters.iter().any(means) {
                continue;
            }
            // A try that came too late counts for nothing.
            let mut deleted: Vec<(usize, Entry)> = Vec::new();
            let changed = self.change(zk, &resource, |entries| {
                deleted.clear();
                entries.retain(|entry| {
                    let first = filters.iter().position(|filter| filter.matches(&resource, entry));
                    if let Some(at) = first {
                        deleted.push((at, entry.clone()));
                    }
                    first.is_none()
                });
            });
            let error = changed.await.err().map(Arc::new);
            if let Some(error) = &error {
                tracing::error!("{error}");
            }
            for (at, entry) in deleted {
                results[at].push((Binding { resource: resource.clone(), entry }, error.clone()));
            }
        }
        results
    }

    /// Changes one resource's ACLs in ZooKeeper as often as it takes, then here, and tells the other brokers.
    async fn change(
        &self,
        zk: &Zk,
        resource: &Resource,
        mut edit: impl FnMut(&mut BTreeSet<Entry>),
    ) -> Result<(), AclError> {
        for _ in 0..=RETRIES_MAX {
            let stored = zk.acls(resource).await?;
            let mut entries = stored.entries.clone();
            edit(&mut entries);
            if zk.replace_acls(resource, &entries, stored.version).await? {
                let changed = entries != stored.entries;
                self.set(resource, entries);
                if changed {
                    tracing::info!("Updated ACLs for {resource}");
                    zk.note_acls(resource).await?;
                }
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(AclError::Contended(resource.clone()))
    }

    /// Follows what others change, in every session.
    pub async fn follow(self: Arc<Authorizer>, mut session: watch::Receiver<Zk>) {
        loop {
            let zk = session.borrow_and_update().clone();
            let ended = self.follow_in(&zk).await;
            if !may_follow_again(&mut session, ended).await {
                return;
            }
        }
    }

    /// Until the session ends, or something else goes wrong.
    async fn follow_in(&self, zk: &Zk) -> ZkError {
        let changed = |resource: Resource| async move {
            if let Err(error) = self.reload(zk, &resource).await {
                tracing::error!("{error}");
            }
        };
        let (armed_literal, literal_is_armed) = oneshot::channel();
        let (armed_extended, extended_is_armed) = oneshot::channel();
        tokio::select! {
            error = watch_acls(zk.clone(), false, armed_literal, changed) => error,
            error = watch_acls(zk.clone(), true, armed_extended, changed) => error,
            error = catch_up([literal_is_armed, extended_is_armed], self.load(zk)) => error,
        }
    }
}
