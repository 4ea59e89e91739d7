"""The first ten minutes, cell by cell: open it in a notebook (jupytext, VS Code, Spyder) or run it.

usage: python ten_minutes.py        in a folder of its own
"""

# %% A vault in a folder. In a notebook leave out `no_passphrase` and you are asked for one.
import vault

v = vault.init("models/", no_passphrase=True)

# %% A model, as always.
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

columns = ["tenure", "calls", "charges", "contract", "discount", "complaints"]
X, y = make_classification(1_000, len(columns), n_informative=4, random_state=7)
scaler = StandardScaler().fit(X[:800])
model = RandomForestClassifier(50, random_state=7).fit(scaler.transform(X[:800]), y[:800])

# %% Save it. The format is chosen for you (skops: data, no program), and it is compared with the
# live model on the sample before it is published. Everything is encrypted and signed.
ref = v.save_model(
    "churn",
    model,
    sample_input=scaler.transform(X[:500]),
    training_data=X[:800],
    metrics={"accuracy": model.score(scaler.transform(X[800:]), y[800:])},
    artifacts={"scaler": scaler, "features": columns},
)
print(ref)

# %% Use it in production. A version never changes; what production uses does.
v.promote(ref, env="prod")

# %% Anywhere else, later: verify, decide, decrypt in memory, deserialize.
again = vault.open("models/").load_model("churn@prod")
assert (again.predict(scaler.transform(X)) == model.predict(scaler.transform(X))).all()

# %% With everything that travels with it.
package = v.load_package("churn@prod")
print(package.reference, package.features, sorted(package.artifacts))
print(package.metadata["metrics"], package.metadata["python"], package.metadata["parity"])

# %% Somebody has altered one byte in the storage.
from pathlib import Path  # noqa: E402

largest = max(Path("models/models").rglob("files/*"), key=lambda path: path.stat().st_size)
altered = bytearray(largest.read_bytes())
altered[1_000] ^= 1
largest.write_bytes(altered)
try:
    vault.open("models/").load_model("churn@prod")
except vault.Refused as refused:
    print(f"{refused.code}: {refused}")
