"""Prints the figures of tests/oracle.rs. usage: python oracle.py (needs numpy and scikit-learn; ours were 1.9.1)."""
import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

# The rows of `data()` in oracle.rs.
i = np.arange(60)
a = (i * 37 % 101) / 10
b = (i * 53 % 89) / 7
c = i % 3
noise = (i * 29 % 17) / 17
y = 1.5 * a - 0.7 * b + np.array([0.0, 2.0, -1.0])[c] + noise
binary = (a - b + 8 * noise > 3).astype(int)
multi = np.digitize(a - b + 8 * noise, [0, 5])
onehot = np.eye(3)[c]
x = np.c_[a, b]
mixed = np.c_[a, b, onehot]
epoch = np.c_[1.6e9 + 60 * i, a]


def show(name, *values):
    print(name, *(np.array2string(np.asarray(v).ravel(), precision=15, separator=", ", max_line_width=200) for v in values))


def shown(name, model, xs, ys):
    model.fit(xs, ys)
    show(name, model.coef_, model.intercept_)


shown("ols", LinearRegression(), x, y)
shown("ridge", Ridge(alpha=2.5), x, y)
shown("least norm", LinearRegression(), mixed, y)
shown("ridge one-hot", Ridge(alpha=1.0), mixed, y)
m = LinearRegression().fit(np.c_[60 * i, a], y)
show("epoch", m.coef_, m.intercept_)
# Its lbfgs stops at a relative change of the loss, about six digits short of this.
tight = dict(tol=1e-13, max_iter=100_000, solver="newton-cg")
shown("logistic", LogisticRegression(**tight), x, binary)
shown("logistic one-hot", LogisticRegression(C=0.5, **tight), mixed, binary)
shown("logistic no penalty", LogisticRegression(C=np.inf, **tight), x, binary)
shown("multinomial", LogisticRegression(**tight), x, multi)
shown("multinomial one-hot", LogisticRegression(C=0.5, **tight), mixed, multi)

j = np.arange(4000)
fa, fb, fn = (j * 7919 % 4001) / 4001, (j * 6151 % 3989) / 3989, (j * 104729 % 997) / 997
fy = np.sin(9 * fa) * 3 + (fb > 0.4) * 2 * fa + fn
fc = np.digitize(fy, [0, 2])
train = j % 2 == 0
fx = np.c_[fa, fb]
r = RandomForestRegressor(50, max_depth=8, random_state=0, n_jobs=2).fit(fx[train], fy[train])
print("forest rmse", np.sqrt(np.mean((r.predict(fx[~train]) - fy[~train]) ** 2)))
r = RandomForestClassifier(50, max_depth=8, max_features=None, random_state=0, n_jobs=2).fit(fx[train], fc[train])
print("forest accuracy", np.mean(r.predict(fx[~train]) == fc[~train]))
