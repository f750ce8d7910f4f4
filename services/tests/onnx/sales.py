"""Writes products.csv and sales.csv to a directory: 80 buyers who buy again what is theirs, and others now and then."""

import random
import sys
from pathlib import Path

DAY_S = 86_400
DAYS = 112
BUYERS = 80
PRODUCTS = 120


def main():
    directory = Path(sys.argv[1])
    drawn = random.Random(1)
    products = ["id,category,price_cents"] + [f"{500 + at},kind {at % 4},{99 + at}" for at in range(PRODUCTS)]
    (directory / "products.csv").write_text("\n".join(products) + "\n")
    sales = ["ts,basket,user,product,qty"]
    basket = 0
    for day in range(DAYS):
        for user in range(BUYERS):
            if drawn.random() > 0.4:
                continue
            basket += 1
            own = drawn.sample([(user + 7 * habit) % PRODUCTS for habit in range(8)], 3)
            for product in {*own, drawn.randrange(PRODUCTS)}:
                sales.append(f"{day * DAY_S + user},{basket},{user},{500 + product},1")
    (directory / "sales.csv").write_text("\n".join(sales) + "\n")


if __name__ == "__main__":
    main()
