//! `TrainModel` through gRPC: called off wherever it is, and one at a time.

use onrush_grpc::recommendation::v1::{
    CancelOperationRequest, GetModelResponse, GetOperationRequest, Operation, OperationState,
    TrainModelRequest,
};

use crate::shop::{Shop, refused};
use crate::wait::until;

/// What it does when it is so far, in percent: it reads the log, learns factors, makes examples, learns networks, tries
/// mixes, measures.
const PHASES: [u32; 6] = [0, 20, 38, 50, 80, 95];
/// From here on a phase may be over while anything else is asked: it is only called off.
const SHORT: u32 = 80;
/// Percents that a training comes through in time.
const PART: u32 = 4;
/// How often a phase is tried to be met: one may be over before it is called off.
const TRIES: usize = 5;

impl Shop {
    async fn operation(&self, id: &str) -> Operation {
        let request = GetOperationRequest { operation_id: id.into() };
        self.client.get_operation(request).await.unwrap().operation.unwrap()
    }

    /// The model as it is, without how far it has read: the log goes on meanwhile, a charge on each of its own times.
    async fn in_use(&self) -> GetModelResponse {
        GetModelResponse { records_behind: 0, ..self.model().await }
    }

    /// Waits until a training is so far. Each part of the way has its own bound: it takes long on a busy machine.
    async fn until_at(&self, id: &str, percent: u32) {
        for part in (0..percent).step_by(PART as usize).chain([percent]) {
            until(&format!("a training at {part} %"), async || {
                let operation = self.operation(id).await;
                if operation.progress_percent < part { Err(operation) } else { Ok(()) }
            })
            .await;
        }
    }

    /// Begins a training that publishes nothing and calls it off when it is so far; how it ended.
    async fn called_off_at(&self, percent: u32) -> Operation {
        let request = TrainModelRequest { measure_only: true };
        let begun = self.client.train_model(request).await.unwrap().operation.unwrap();
        let id = begun.operation_id;
        self.until_at(&id, percent).await;
        if percent < SHORT {
            self.no_other_while(&id).await;
        }
        self.end(&id).await;
        self.operation(&id).await
    }

    /// While one runs there is no other, and who asks for one is told which runs. It may be over by then.
    async fn no_other_while(&self, id: &str) {
        match self.client.train_model(TrainModelRequest { measure_only: true }).await {
            Ok(second) => {
                assert_ne!(self.operation(id).await.state(), OperationState::Running);
                self.end(&second.operation.unwrap().operation_id).await;
            }
            again => {
                let refused = refused(again);
                assert_eq!(refused.reason, "TRAINING_RUNNING");
                assert!(refused.message.contains(id), "{}", refused.message);
            }
        }
    }

    /// Calls a training off and waits for its end.
    async fn end(&self, id: &str) {
        let request = CancelOperationRequest { operation_id: id.into() };
        self.client.cancel_operation(request).await.unwrap();
        until("a training that was called off to be over", async || {
            let operation = self.operation(id).await;
            if operation.state() == OperationState::Running { Err(operation) } else { Ok(()) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_training_is_called_off_wherever_it_is_and_changes_nothing() {
    let (shop, _) = Shop::lived().await;
    let before = shop.in_use().await;
    for percent in PHASES {
        let mut is_met = false;
        for _ in 0..TRIES {
            let ended = shop.called_off_at(percent).await;
            assert_eq!((ended.model_version, shop.in_use().await), (0, before.clone()), "{percent} %");
            is_met = ended.state() == OperationState::Cancelled;
            if is_met {
                assert_eq!(ended.metrics.len(), 0, "{ended:?}");
                break;
            }
            assert_eq!(ended.state(), OperationState::Kept, "{ended:?}");
        }
        // A short one may be over each time it is called off: that mixes and measures hear of it, a test of theirs says.
        assert!(is_met || percent >= SHORT, "expected to meet {percent} % within {TRIES} trainings");
    }
    let directory = shop.dir.path().join("data/recommendation");
    assert!(std::fs::read_dir(directory).is_err(), "there is no directory of models");
    // Another one may begin, and comes to its end; who calls it off then is late, and it stays as it is.
    let over = shop.trained(false).await;
    assert!(matches!(over.state(), OperationState::Published | OperationState::Kept), "{over:?}");
    let model = shop.in_use().await;
    shop.end(&over.operation_id).await;
    assert_eq!((shop.operation(&over.operation_id).await, shop.in_use().await), (over, model));
}

/// Called off at any moment, it has published nothing or all of it.
#[tokio::test]
async fn a_training_that_is_called_off_late_is_published_whole_or_not_at_all() {
    let (shop, _) = Shop::lived().await;
    let directory = shop.dir.path().join("data/recommendation");
    let mut before = shop.in_use().await;
    for percent in [95, 95, 95, 80] {
        let request = TrainModelRequest { measure_only: false };
        let begun = shop.client.train_model(request).await.unwrap().operation.unwrap();
        shop.until_at(&begun.operation_id, percent).await;
        shop.end(&begun.operation_id).await;
        let ended = shop.operation(&begun.operation_id).await;
        let model = shop.in_use().await;
        match ended.state() {
            OperationState::Published => {
                assert_eq!((model.version, ended.model_version), (before.version + 1, model.version));
                assert!(model.ml_ready && !ended.metrics.is_empty(), "{ended:?}");
                before = model;
            }
            OperationState::Cancelled => assert_eq!((model, ended.metrics.len()), (before.clone(), 0)),
            state => assert_eq!((state, &model), (OperationState::Kept, &before)),
        }
        let file = directory.join(format!("model-{}.onrush", before.version));
        assert_eq!(file.exists(), before.ml_ready);
    }
}
