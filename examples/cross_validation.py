"""A regression inside `cross_val_score`: the optimizer is tuned anew in every fold, on that fold's training rows alone.

So the scores are of rows that neither the training nor the tuning has seen. The program is compiled in the first fold
and used again in the others.
"""

from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adamtune import AdamTunerRegressor


def main(folds=5, n_trials=32, epochs=20):
    X, y = load_diabetes(return_X_y=True)
    tuner = AdamTunerRegressor(n_trials=n_trials, epochs=epochs, storage="memory", random_state=0, verbose=0)
    # 442 rows: shuffled, because nobody knows how they were sorted.
    cv = KFold(folds, shuffle=True, random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), tuner), X, y, cv=cv)
    linear = cross_val_score(LinearRegression(), X, y, cv=cv)
    print(
        f"R² in {folds} folds: {scores.mean():.3f} ± {scores.std(ddof=1):.3f} ({', '.join(f'{s:.2f}' for s in scores)})"
    )
    print(f"linear regression: {linear.mean():.3f} ± {linear.std(ddof=1):.3f}")
    return scores, linear


if __name__ == "__main__":
    main()
