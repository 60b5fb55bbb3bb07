import time

print("waiting")
while True:
    time.sleep(1)
