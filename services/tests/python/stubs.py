"""A foreign client with stubs of Google's protoc: one purchase over all seven services, and what is refused."""

import functools
import itertools
import json
import sys
import time
import urllib.request

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from onrush.money.v1.money_pb2 import Money
from onrush.notification.v1 import notification_service_pb2 as notification
from onrush.notification.v1.notification_service_pb2_grpc import NotificationServiceStub
from onrush.order.v1 import order_service_pb2 as order
from onrush.order.v1.order_service_pb2_grpc import OrderServiceStub
from onrush.payment.v1 import payment_service_pb2 as payment
from onrush.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from onrush.product.v1 import product_service_pb2 as product
from onrush.product.v1.product_service_pb2_grpc import ProductServiceStub
from onrush.recommendation.v1 import recommendation_service_pb2 as recommendation
from onrush.recommendation.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from onrush.shipping.v1 import shipping_service_pb2 as shipping
from onrush.shipping.v1.shipping_service_pb2_grpc import ShippingServiceStub
from onrush.user.v1 import user_service_pb2 as user
from onrush.user.v1.user_service_pb2_grpc import UserServiceStub

MUG = Money(minor_units=1250, currency_code="EUR")


def until(ask, wanted):
    """What `ask` says once it is wanted; the log brings it about."""
    for _ in range(3000):
        found = ask()
        if wanted(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"expected what is wanted within 30 s, found {found}")


def register(address):
    """A new user's id and access token."""
    login = {"email": "stubs@example.com", "password": "correct horse battery"}

    def post(path, body):
        request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        return json.load(urllib.request.urlopen(request, timeout=20))

    return post("/register", {**login, "name": "Stubs"})["id"], post("/login", login)["access_token"]


def refused(call, request, code, reason, field=None):
    """Holds the refusal against google.rpc.Status."""
    try:
        answer = call(request, timeout=10)
    except grpc.RpcError as error:
        assert error.code() == code, error
        info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        details = rpc_status.from_call(error).details
        assert any(detail.Unpack(info) for detail in details) and info.reason == reason, error
        assert info.domain == "onrush", info
        if field:
            assert any(detail.Unpack(violations) for detail in details), error
            assert [found.field for found in violations.field_violations] == [field], violations
    else:
        raise AssertionError(f"expected {reason}, found {answer}")


def main(product_at, order_at, payment_at, user_at, shipping_at, notification_at, recommendation_at):
    products = ProductServiceStub(grpc.insecure_channel(product_at))
    orders = OrderServiceStub(grpc.insecure_channel(order_at))
    payments = PaymentServiceStub(grpc.insecure_channel(payment_at))
    users = UserServiceStub(grpc.insecure_channel(user_at))
    shipments = ShippingServiceStub(grpc.insecure_channel(shipping_at))
    notifications = NotificationServiceStub(grpc.insecure_channel(notification_at))
    recommendations = RecommendationServiceStub(grpc.insecure_channel(recommendation_at))

    user_id, token = register(user_at)
    told = users.ValidateToken(user.ValidateTokenRequest(access_token=token), timeout=10)
    assert (told.user_id, list(told.roles)) == (user_id, [user.USER_ROLE_CUSTOMER]), told
    bearer = [("authorization", f"Bearer {token}")]
    shown = users.GetUser(user.GetUserRequest(user_id=user_id), timeout=10, metadata=bearer)
    assert shown.user.email == "stubs@example.com", shown

    products.PutProduct(product.PutProductRequest(sku="mug", name="Mug", price=MUG, category="kitchen"), timeout=10)
    products.UpdateStock(product.UpdateStockRequest(sku="mug", set=3), timeout=10)
    candidates = products.ListProducts(product.ListProductsRequest(category="kitchen", on_sale=True), timeout=10)
    assert [found.sku for found in candidates.products] == ["mug"], candidates

    lines = [order.NewOrderLine(sku="mug", quantity=2)]
    create = order.CreateOrderRequest(request_id="stubs-1", customer_id=user_id, lines=lines)
    created = orders.CreateOrder(create, timeout=10, metadata=bearer)
    assert orders.CreateOrder(create, timeout=10, metadata=bearer).replayed
    assert created.total == Money(minor_units=2500, currency_code="EUR"), created
    pay = order.ProcessPaymentRequest(order_id=created.order_id, payment_method="pm_card")
    paid = orders.ProcessPayment(pay, timeout=10, metadata=bearer)
    assert paid.order_status == order.ORDER_STATUS_PAID, paid

    parcels = shipping.ListShipmentsRequest(order_id=created.order_id)
    under_way = until(
        lambda: shipments.ListShipments(parcels, timeout=10, metadata=bearer).shipments,
        lambda found: found and found[0].tracking_number,
    )
    track = shipping.TrackShipmentRequest(tracking_number=under_way[0].tracking_number)
    assert shipments.TrackShipment(track, timeout=10).events, under_way
    sent = until(
        lambda: notifications.ListNotifications(
            notification.ListNotificationsRequest(order_id=created.order_id), timeout=10, metadata=bearer
        ).notifications,
        lambda found: sum(one.status == notification.NOTIFICATION_STATUS_SENT for one in found) >= 3,
    )
    assert {one.customer_id for one in sent} == {user_id}, sent

    refund = payment.ProcessRefundRequest(payment_id=created.order_id, amount=Money(minor_units=500, currency_code="EUR"))
    payments.ProcessRefund(refund, timeout=10)
    back = until(
        lambda: orders.GetOrderStatus(order.GetOrderStatusRequest(order_id=created.order_id), timeout=10, metadata=bearer).order,
        lambda found: found.refunded_minor_units == 500,
    )
    history = [change.status for change in back.history]
    assert history[:2] == [order.ORDER_STATUS_PENDING, order.ORDER_STATUS_PAID], back
    assert history[-1] == back.status and all(one != next for one, next in itertools.pairwise(history)), back
    until(
        lambda: recommendations.GetTrends(recommendation.GetTrendsRequest(window=recommendation.TREND_WINDOW_HOUR), timeout=10).products,
        lambda found: "mug" in [one.sku for one in found],
    )

    create_as = functools.partial(orders.CreateOrder, metadata=bearer)
    more = order.CreateOrderRequest(customer_id=user_id, lines=lines)
    refused(create_as, more, grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_STOCK", "lines[0].quantity")
    none = order.CreateOrderRequest(customer_id=user_id, lines=[order.NewOrderLine(sku="mug", quantity=0)])
    refused(create_as, none, grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUANTITY", "lines[0].quantity")
    foreign = order.CreateOrderRequest(customer_id="someone", lines=lines)
    refused(create_as, foreign, grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    print("bought by stubs of protoc:", created.order_id)


if __name__ == "__main__":
    main(*sys.argv[1:8])
