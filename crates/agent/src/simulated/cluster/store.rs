//! What etcd holds: objects by collection path and name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Objects by the path of their collection (`/api/v1/namespaces/default/pods`) and their name.
#[derive(Default)]
pub(super) struct Store {
    collections: BTreeMap<String, BTreeMap<String, Value>>,
    revision: u64,
}

impl Store {
    pub(super) fn get(&self, collection: &str, name: &str) -> Option<&Value> {
        self.collections.get(collection)?.get(name)
    }

    pub(super) fn objects(&self, collection: &str) -> impl Iterator<Item = &Value> {
        self.collections.get(collection).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn objects_mut(&mut self, collection: &str) -> impl Iterator<Item = &mut Value> {
        self.collections.get_mut(collection).into_iter().flat_map(BTreeMap::values_mut)
    }

    /// The paths of the collections of a resource (`pods`) in all namespaces of a group (`/api/v1`).
    pub(super) fn collections_of(&self, group: &str, resource: &str) -> Vec<String> {
        let (start, end) = (format!("{group}/namespaces/"), format!("/{resource}"));
        let matches = |path: &&String| path.starts_with(&start) && path.ends_with(&end);
        self.collections.keys().filter(matches).cloned().collect()
    }

    /// Inserts an object unless one of its name is there; whether it was inserted.
    pub(super) fn insert_new(&mut self, collection: &str, mut object: Value) -> bool {
        let name = name_of(&object).to_owned();
        if self.get(collection, &name).is_some() {
            return false;
        }
        self.revision += 1;
        let metadata = json!({
            "creationTimestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "resourceVersion": self.revision.to_string(),
            "selfLink": format!("{collection}/{name}"),
            "uid": format!("00000000-0000-4000-8000-{:012x}", self.revision),
        });
        merge(&mut object, &json!({"metadata": metadata}));
        self.collections.entry(collection.to_owned()).or_default().insert(name, object);
        true
    }

    pub(super) fn replace(&mut self, collection: &str, name: &str, mut object: Value) -> Option<Value> {
        let found = self.collections.get_mut(collection)?.get_mut(name)?;
        self.revision += 1;
        let revision = self.revision.to_string();
        merge(&mut object, &json!({"metadata": {"resourceVersion": revision}}));
        *found = object.clone();
        Some(object)
    }

    pub(super) fn remove(&mut self, collection: &str, name: &str) -> Option<Value> {
        let removed = self.collections.get_mut(collection)?.remove(name);
        if collection == "/api/v1/namespaces" {
            let below = format!("/api/v1/namespaces/{name}/");
            self.collections.retain(|path, _| !path.starts_with(&below));
        }
        removed
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }
}

/// An object with what every object has, merged with `rest`.
pub(super) fn object(kind: &str, name: &str, namespace: Option<&str>, rest: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        merge(&mut object, &json!({"metadata": {"namespace": namespace}}));
    }
    merge(&mut object, &rest);
    object
}

/// The name of an object.
pub(super) fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Applies a JSON merge patch (RFC 7396).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The path of the collection that an object is created in.
pub(in super::super) fn collection_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").unwrap_or("default");
    collection(text("/apiVersion").unwrap_or("v1"), text("/kind").unwrap_or_default(), namespace)
}

/// The path of a collection.
pub(in super::super) fn collection(version: &str, kind: &str, namespace: &str) -> String {
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let kind = kind.to_lowercase();
    let resource = match kind.as_str() {
        "endpoints" => kind.clone(),
        _ => format!("{kind}s"),
    };
    let cluster_wide = ["namespace", "node", "persistentvolume", "clusterrole", "clusterrolebinding"];
    if cluster_wide.contains(&kind.as_str()) {
        format!("{group}/{resource}")
    } else {
        format!("{group}/namespaces/{namespace}/{resource}")
    }
}
