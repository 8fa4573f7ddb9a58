package contest

import (
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// The values are those of the tables of Student's distribution, two-sided.
func TestStudent(t *testing.T) {
	for _, test := range []struct{ probability, freedom, want float64 }{
		{0.95, 1, 12.7062}, {0.95, 2, 4.30265}, {0.95, 3, 3.18245}, {0.95, 4, 2.77645}, {0.95, 9, 2.26216}, {0.95, 30, 2.04227}, {0.95, 99, 1.98422},
		{0.9, 4, 2.13185}, {0.99, 2, 9.92484}, {0.99, 4, 4.60409}, {0.99, 9, 3.24984}, {0.999, 4, 8.61030}, {0.5, 5, 0.726687}, {0.95, 2.5, 3.5747},
	} {
		if got := student(test.probability, test.freedom); math.Abs(got/test.want-1) > 1e-4 {
			t.Errorf("%v with %v degrees of freedom: got %v, want %v", test.probability, test.freedom, got, test.want)
		}
	}
}

func near(got, want float64) bool { return math.Abs(got/want-1) < 1e-4 }

func TestPaired(t *testing.T) {
	// The rounds' ratios are e to the power 0.1, 0.2 and 0.3, whatever the round itself
	// did: a mean of 0.2, a standard error of 0.1/sqrt(3), times 4.30265.
	a := []float64{1 * math.Exp(0.1), 50 * math.Exp(0.2), 7 * math.Exp(0.3)}
	b := []float64{1, 50, 7}
	ratio, interval := paired(a, b, 0.95)
	if !near(ratio, math.Exp(0.2)) || !near(interval.Low, math.Exp(0.2-0.248414)) || !near(interval.High, math.Exp(0.2+0.248414)) || interval.Confidence != 0.95 {
		t.Errorf("got %v in %+v", ratio, interval)
	}
	// What is faster by a factor is slower by its inverse.
	inverse, mirrored := paired(b, a, 0.95)
	for what, product := range map[string]float64{"ratio": ratio * inverse, "ends": interval.Low * mirrored.High, "other ends": interval.High * mirrored.Low} {
		if !near(product, 1) {
			t.Errorf("%s: the product is %v", what, product)
		}
	}
	if ratio, interval := paired([]float64{5, 6, 7}, []float64{5, 6, 7}, 0.95); ratio != 1 || interval.Low != 1 || interval.High != 1 {
		t.Errorf("of equal values: %v in %+v", ratio, interval)
	}
	for _, few := range [][]float64{{4}, {4, 5}} {
		if ratio, interval := paired(few, few, 0.95); ratio != 1 || interval != nil {
			t.Errorf("of %d values: %v in %+v", len(few), ratio, interval)
		}
	}
}

func TestUnpaired(t *testing.T) {
	// Logarithms with means 1 and 0 and variances 0.01 and 0.04, of three values and of
	// four: a standard error of sqrt(0.01/3+0.04/4) and 32/7 degrees of freedom.
	root := math.Sqrt(0.015)
	a := []float64{math.Exp(0.9), math.Exp(1), math.Exp(1.1)}
	b := []float64{math.Exp(2 * root), math.Exp(-2 * root), math.Exp(0), math.Exp(0)}
	ratio, interval := unpaired(a, b, 0.95)
	_, variance := moments(logarithms(b))
	reach := student(0.95, 32.0/7) * math.Sqrt(0.01/3+0.04/4)
	if !near(variance, 0.04) || !near(ratio, math.E) || !near(interval.Low, math.Exp(1-reach)) || !near(interval.High, math.Exp(1+reach)) {
		t.Errorf("variance %v, got %v in %+v, want a reach of %v", variance, ratio, interval, reach)
	}
	if ratio, interval := unpaired([]float64{2, 2, 2}, []float64{1, 1, 1, 1}, 0.95); ratio != 2 || interval.Low != 2 || interval.High != 2 {
		t.Errorf("without noise: %v in %+v", ratio, interval)
	}
	if _, interval := unpaired([]float64{2, 2}, []float64{1, 1, 1}, 0.95); interval != nil {
		t.Errorf("of two values: %+v", interval)
	}
}

// noise is a factor that a run's figure is off by.
type noise func(random *rand.Rand) float64

func normal(deviation float64) noise {
	return func(random *rand.Rand) float64 { return math.Exp(deviation * random.NormFloat64()) }
}

// delays make some runs slower, and none faster.
func delays(mean float64) noise {
	return func(random *rand.Rand) float64 { return math.Exp(-mean * random.ExpFloat64()) }
}

// outliers are in every tenth run three times as large.
func outliers(deviation float64) noise {
	return func(random *rand.Rand) float64 {
		if random.Float64() < 0.1 {
			return normal(3 * deviation)(random)
		}
		return normal(deviation)(random)
	}
}

// stalls make every fourth run a third slower than it would have been.
func stalls(random *rand.Rand) float64 {
	if random.Float64() < 0.25 {
		return normal(0.01)(random) / 1.5
	}
	return normal(0.01)(random)
}

// The shares are those of the package's documentation.
func TestIntervalHoldsTheRatio(t *testing.T) {
	const ratio = 1.3
	contests := 2000
	if os.Getenv("CONTESTS") != "" {
		contests, _ = strconv.Atoi(os.Getenv("CONTESTS"))
	}
	for _, test := range []struct {
		name     string
		runs     int
		a, b     noise
		round    noise
		held     float64
		excludes float64 // how many intervals exclude 1, at least
	}{
		{"3 runs, noise of 5%", 3, normal(0.05), normal(0.05), nil, 0.95, 0.86},
		{"4 runs, noise of 5%", 4, normal(0.05), normal(0.05), nil, 0.95, 0.99},
		{"5 runs, noise of 5%", 5, normal(0.05), normal(0.05), nil, 0.95, 0.999},
		{"10 runs, noise of 5%", 10, normal(0.05), normal(0.05), nil, 0.95, 1},
		{"5 runs, noise of 5% against 1%", 5, normal(0.05), normal(0.01), nil, 0.95, 1},
		{"5 runs, every round 20% up or down", 5, normal(0.05), normal(0.05), normal(0.2), 0.95, 0.999},
		{"5 runs, delays", 5, delays(0.05), delays(0.05), nil, 0.966, 0.99},
		{"5 runs, outliers", 5, outliers(0.05), outliers(0.05), nil, 0.957, 0.96},
		{"5 runs, stalls", 5, stalls, stalls, nil, 0.987, 0.3},
	} {
		t.Run(test.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var held, excluded float64
			for range contests {
				var a, b []float64
				for range test.runs {
					round := 1.0
					if test.round != nil {
						round = test.round(random)
					}
					a, b = append(a, ratio*round*test.a(random)), append(b, round*test.b(random))
				}
				_, interval := paired(a, b, DefaultConfidence)
				if interval.holds(ratio) {
					held++
				}
				if !interval.holds(1) {
					excluded++
				}
			}
			held, excluded = held/float64(contests), excluded/float64(contests)
			t.Logf("holds the ratio in %.2f%%, excludes 1 in %.2f%%", held*100, excluded*100)
			if math.Abs(held-test.held) > 0.013 {
				t.Errorf("the interval holds the ratio in %.2f%% of contests, documented are %.2f%%", held*100, test.held*100)
			}
			if excluded < test.excludes {
				t.Errorf("the interval excludes 1 in %.2f%% of contests only", excluded*100)
			}
		})
	}
}
