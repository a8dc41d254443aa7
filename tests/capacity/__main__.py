from tests.capacity.measuring import measured

for name, value in measured():
    print(f"{name} = {value:.4g}", flush=True)
