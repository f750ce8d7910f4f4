//! `TrainModel` through gRPC: called off wherever it is, and one at a time.

use std::time::Duration;

use onrush_grpc::recommendation::v1::{
    CancelOperationRequest, GetOperationRequest, Operation, OperationState, TrainModelRequest,
};

use crate::shop::{Shop, refused};

/// What it does when it is so far, in percent: it reads the log, learns factors, makes examples, learns networks, tries
/// mixes, measures.
const PHASES: [u32; 6] = [0, 20, 38, 50, 80, 95];
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// How often a phase is tried to be met: one may be over before it is called off.
const TRIES: usize = 30;

impl Shop {
    async fn operation(&self, id: &str) -> Operation {
        let request = GetOperationRequest { operation_id: id.into() };
        self.client.get_operation(request).await.unwrap().operation.unwrap()
    }

    /// Begins a training that publishes nothing and calls it off when it is so far; how it ended.
    async fn called_off_at(&self, percent: u32) -> Operation {
        let request = TrainModelRequest { measure_only: true };
        let begun = self.client.train_model(request).await.unwrap().operation.unwrap();
        let id = begun.operation_id;
        while self.operation(&id).await.progress_percent < percent {
            tokio::time::sleep(PAUSE).await;
        }
        // While it runs there is no other, and who asks for one is told which runs.
        match self.client.train_model(request).await {
            Ok(second) => self.end(&second.operation.unwrap().operation_id).await,
            again => {
                let refused = refused(again);
                assert_eq!(refused.reason, "TRAINING_RUNNING");
                assert!(refused.message.contains(&id), "{}", refused.message);
            }
        }
        self.end(&id).await;
        self.operation(&id).await
    }

    /// Calls a training off and waits for its end.
    async fn end(&self, id: &str) {
        let request = CancelOperationRequest { operation_id: id.into() };
        self.client.cancel_operation(request).await.unwrap();
        while self.operation(id).await.state() == OperationState::Running {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test]
async fn a_training_is_called_off_wherever_it_is_and_changes_nothing() {
    let (shop, _) = Shop::lived().await;
    let before = shop.model().await;
    for percent in PHASES {
        let mut met = None;
        for _ in 0..TRIES {
            let ended = shop.called_off_at(percent).await;
            if ended.state() == OperationState::Cancelled {
                met = Some(ended);
                break;
            }
            assert_eq!(ended.state(), OperationState::Kept, "{ended:?}");
        }
        let ended = met.unwrap_or_else(|| panic!("expected to meet {percent} % within {TRIES} trainings"));
        assert_eq!((ended.metrics.len(), ended.model_version), (0, 0), "{ended:?}");
        assert_eq!(shop.model().await, before, "called off at {percent} %");
    }
    let directory = shop.dir.path().join("data/recommendation");
    assert!(!directory.join("model.onrush").exists());
    // Another one may begin, and comes to its end.
    assert_eq!(shop.trained(false).await.state(), OperationState::Published);
}
