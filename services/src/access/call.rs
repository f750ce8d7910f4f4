//! The one table of calls: what each needs of its caller.
//!
//! `docs/api/access.md` is made of it.

use super::Permission::{
    ActForCustomers, HandleParcels, MoveMoney, Operate, ReadCustomers, ReadStock, ReadUsers, TrainModels,
    WriteCatalogue, WriteTemplates,
};
use super::{Permission, Scope};

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing: no token is looked at.
    Nothing,
    /// A user, whoever it is: there is nothing of anybody's in it.
    Account,
    /// A user, for what is their own; for what is others', the permission.
    Own(Permission),
    /// The same, but that nobody is asked who they are for what is nobody's.
    Visitor(Permission),
    /// The permission.
    Permission(Permission),
}

macro_rules! calls {
    ($($service:literal { $($call:ident $need:expr;)+ })+) => {
        /// A call, named as in its service's description.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the .proto files say what each does")]
        pub enum Call { $($($call,)+)+ }

        impl Call {
            /// Every call, by service.
            pub const ALL: &'static [Self] = &[$($(Self::$call,)+)+];

            /// The full name of its service.
            pub const fn service(self) -> &'static str {
                match self { $($(Self::$call => $service,)+)+ }
            }

            /// Its name in the service.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$call => stringify!($call),)+)+ }
            }

            /// What it needs.
            pub const fn need(self) -> Need {
                match self { $($(Self::$call => $need,)+)+ }
            }
        }
    };
}

impl Call {
    /// What a program needs to make it in a user's name; `None`: no grant is enough.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::GetOrderStatus
            | Self::ListOrders
            | Self::GetPaymentStatus
            | Self::ListTransactions
            | Self::GetShipment
            | Self::ListShipments
            | Self::GetRates
            | Self::TrackShipment
            | Self::GetAddress => Some(Scope::ReadOrders),
            Self::CreateOrder
            | Self::ProcessPayment
            | Self::CancelOrder
            | Self::CreatePayment
            | Self::PutAddress => Some(Scope::WriteOrders),
            Self::UpdateStock | Self::PutProduct | Self::GetStock | Self::ListStockChanges => {
                Some(Scope::WriteCatalogue)
            }
            _ => None,
        }
    }
}

use Need::{Account, Nothing, Own, Visitor};

const fn only(permission: Permission) -> Need {
    Need::Permission(permission)
}

calls! {
    "onrush.product.v1.ProductService" {
        ValidateProducts Nothing;
        GetProductDetails Nothing;
        UpdateStock only(WriteCatalogue);
        PutProduct only(WriteCatalogue);
        ListProducts Nothing;
    }
    "onrush.order.v1.OrderService" {
        CreateOrder Own(ActForCustomers);
        ProcessPayment Own(ActForCustomers);
        GetOrderStatus Own(ReadCustomers);
        CancelOrder Own(ActForCustomers);
        ListOrders Own(ReadCustomers);
    }
    "onrush.payment.v1.PaymentService" {
        CreatePayment Own(ActForCustomers);
        CapturePayment only(MoveMoney);
        GetPaymentStatus Own(ReadCustomers);
        ProcessRefund only(MoveMoney);
        ListTransactions Own(ReadCustomers);
    }
    "onrush.user.v1.UserService" {
        // The token in its message is what it is about.
        ValidateToken Nothing;
        GetUser Own(ReadUsers);
    }
    "onrush.shipping.v1.ShippingService" {
        GetShipment Own(ReadCustomers);
        ListShipments Own(ReadCustomers);
        GetRates Account;
        TrackShipment Own(ReadCustomers);
        PutAddress Own(ActForCustomers);
        GetAddress Own(ReadCustomers);
        CancelShipment only(HandleParcels);
        ReturnShipment only(HandleParcels);
        ResolveException only(HandleParcels);
    }
    "onrush.notification.v1.NotificationService" {
        PutContact Own(ActForCustomers);
        GetContact Own(ReadCustomers);
        SetPreference Own(ActForCustomers);
        // A browser subscribes before anybody logs in.
        GetPushKey Nothing;
        PutPushSubscription Own(ActForCustomers);
        ListPushSubscriptions Own(ReadCustomers);
        DeletePushSubscription Own(ActForCustomers);
        // The link in a mail is signed.
        Unsubscribe Nothing;
        PutTemplate only(WriteTemplates);
        PreviewTemplate only(WriteTemplates);
        ListNotifications Own(ReadCustomers);
        ListDeadLetters only(ActForCustomers);
        ReplayDeadLetter only(ActForCustomers);
    }
    "onrush.recommendation.v1.RecommendationService" {
        // Whom nobody knows is shown what everybody is.
        GetRecommendations Visitor(ReadCustomers);
        GetTrends Nothing;
        GetSimilarProducts Nothing;
        UpdateUserPreferences Own(ActForCustomers);
        GetUserPreferences Own(ReadCustomers);
        TrainModel only(TrainModels);
        GetOperation only(TrainModels);
        CancelOperation only(TrainModels);
        GetModel only(TrainModels);
    }
    "onrush.log.v1.LogService" {
        // A subscription is a stream, and needs what its topic is of.
        ListTopics only(Operate);
        CommitOffset only(Operate);
        RejectEvent only(Operate);
        SeekGroup only(Operate);
    }
    "onrush.admin.v1.AdminService" {
        Audit only(Operate);
        GetStock only(ReadStock);
        ListStockChanges only(ReadStock);
        Stats only(Operate);
        Reconcile only(Operate);
        GetCluster only(Operate);
        HandOver only(Operate);
        ChangeMembers only(Operate);
        PlaceNode only(Operate);
    }
}
