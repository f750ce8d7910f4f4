//! Documents of services that are not hot: JSON in the engine, changed by compare-and-set.

use onrush_proto::{
    Command, DeleteDocument, DocKey, GetDocument, Outcome, PutDocument, Receipt, Refusal, Request, Topic,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, unexpected};
use crate::status::Rejection;

/// A document as it stood when it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Versioned<T> {
    /// What it says.
    pub value: T,
    /// Its version, for the next compare-and-set.
    pub version: u64,
}

/// A document's key: `collection/id`.
pub fn key(collection: &str, id: &str) -> Result<DocKey, Rejection> {
    DocKey::new(&format!("{collection}/{id}"))
        .map_err(|error| Rejection::Internal(format!("{collection}: {error}")))
}

/// The command that puts a document; `expected` 0 means that it must not exist.
pub fn put<T: Serialize>(
    key: DocKey,
    value: &T,
    expected: Option<u64>,
    emit: Option<Topic>,
) -> Result<Command, Rejection> {
    let value = serde_json::to_vec(value).map_err(|error| Rejection::Internal(format!("{key}: {error}")))?;
    Ok(Command::PutDocument(Box::new(PutDocument { key, placement: None, value, expected, emit })))
}

impl Backend {
    /// Reads a document; `None` if there is none.
    pub async fn document<T: DeserializeOwned>(
        &self,
        key: DocKey,
    ) -> Result<Option<Versioned<T>>, Rejection> {
        let get = Command::GetDocument(Box::new(GetDocument { key, placement: None }));
        match self.call(Request::unkeyed(get)).await.outcome {
            Outcome::Document(row) => {
                let bytes = row.value.unwrap_or_default();
                let value = serde_json::from_slice(&bytes)
                    .map_err(|error| Rejection::Internal(format!("document {key}: {error}")))?;
                Ok(Some(Versioned { value, version: row.version }))
            }
            Outcome::Refused(Refusal::NotFound) => Ok(None),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("a document or a refusal", &other)),
        }
    }

    /// Puts a document if it has this version; returns the new one.
    pub async fn put_document<T: Serialize>(
        &self,
        key: DocKey,
        value: &T,
        expected: u64,
        emit: Option<Topic>,
    ) -> Result<u64, Rejection> {
        let accepted = self.accept(Request::unkeyed(put(key, value, Some(expected), emit)?)).await?;
        match accepted.receipt {
            Receipt::Document { version } => Ok(version),
            other => Err(Rejection::Internal(format!("expected a document's receipt, found {other:?}"))),
        }
    }

    /// Deletes a document if it has this version.
    pub async fn take_document(&self, key: DocKey, expected: u64) -> Result<(), Rejection> {
        let delete = DeleteDocument { key, placement: None, expected: Some(expected) };
        let delete = Command::DeleteDocument(Box::new(delete));
        self.accept(Request::unkeyed(delete)).await.map(|_| ())
    }

    /// Deletes a document, whatever its version; one that is not there is as good.
    pub async fn delete_document(&self, key: DocKey) -> Result<(), Rejection> {
        let delete =
            Command::DeleteDocument(Box::new(DeleteDocument { key, placement: None, expected: None }));
        match self.accept(Request::unkeyed(delete)).await {
            Ok(_) | Err(Rejection::Refused(Refusal::NotFound)) => Ok(()),
            Err(rejection) => Err(rejection),
        }
    }
}
