"""A foreign client: knows no .proto file, learns the services by reflection and buys something."""

import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Service:
    """A service as its server describes it."""

    def __init__(self, address, name):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        assert name in database.get_services(), f"expected {name} among {database.get_services()}"
        self.descriptor = DescriptorPool(database).FindServiceByName(name)

    def call(self, method, **fields):
        found = self.descriptor.methods_by_name[method]
        request = json_format.ParseDict(fields, message_factory.GetMessageClass(found.input_type)())
        unary = self.channel.unary_unary(
            f"/{self.descriptor.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )
        answer = unary(request, timeout=10)
        return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def main(product_address, order_address, payment_address):
    product = Service(product_address, "onrush.product.v1.ProductService")
    order = Service(order_address, "onrush.order.v1.OrderService")
    payment = Service(payment_address, "onrush.payment.v1.PaymentService")

    product.call("PutProduct", sku="tea", name="Tea", price={"minor_units": 499, "currency_code": "EUR"})
    product.call("UpdateStock", sku="tea", set=3, reason="delivery")
    lines = [{"sku": "tea", "quantity": 2}]
    assert product.call("ValidateProducts", lines=lines)["valid"]

    first = order.call("CreateOrder", request_id="py-1", customer_id="ada", lines=lines)
    again = order.call("CreateOrder", request_id="py-1", customer_id="ada", lines=lines)
    assert again["replayed"] and again["order_id"] == first["order_id"], (first, again)
    assert first["total"] == {"minor_units": "998", "currency_code": "EUR"}, first

    paid = order.call("ProcessPayment", order_id=first["order_id"], payment_method="pm_card")
    assert paid["order_status"] == "ORDER_STATUS_PAID", paid
    booked = payment.call("ListTransactions", customer_id="ada")["transactions"]
    assert [entry["amount"]["minor_units"] for entry in booked] == ["998", "998"], booked

    try:
        order.call("CreateOrder", customer_id="bob", lines=lines)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert b"OUT_OF_STOCK" in details and b"lines[0].quantity" in details, details
    else:
        raise AssertionError("expected OUT_OF_STOCK")
    print("bought by reflection:", first["order_id"])


if __name__ == "__main__":
    main(*sys.argv[1:4])
