import os, sys

order, total = sys.argv[1], float(sys.argv[2])
path = os.path.join(os.environ["OUTPUT_DIR"], f"invoice-{order}.txt")
with open(path, "w") as f:
    f.write(f"Order {order}: {total:.2f} EUR\n")
print("wrote", os.path.basename(path), "for", os.environ.get("CE_SOURCE", "a caller"))
