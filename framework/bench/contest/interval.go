package contest

import (
	"math"
	"slices"
)

// Interval is what a ratio lies in with a confidence. It is closed: its ends belong
// to it.
type Interval struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
}

// holds says whether a ratio is in the interval.
func (i Interval) holds(ratio float64) bool { return i.Low <= ratio && ratio <= i.High }

// fewest is how many values an interval takes. What two of them say of their spread
// is as good as nothing.
const fewest = 3

// paired estimates the ratio of figures that were measured in pairs, each of the two
// in the same round: the geometric mean of the rounds' ratios, with Student's interval
// of the mean of their logarithms. What a round did to both is in neither.
func paired(sample, against []float64, confidence float64) (ratio float64, interval *Interval) {
	differences := logarithms(sample)
	for i, other := range logarithms(against) {
		differences[i] -= other
	}
	middle, variance := moments(differences)
	count := float64(len(differences))
	return bounded(middle, math.Sqrt(variance/count), count-1, len(differences), confidence)
}

// unpaired estimates the ratio of figures that were measured at different times: that
// of their geometric means, with Welch's interval of the difference of the means of
// their logarithms, which need not be spread alike.
func unpaired(sample, against []float64, confidence float64) (ratio float64, interval *Interval) {
	middle, variance := moments(logarithms(sample))
	otherMiddle, otherVariance := moments(logarithms(against))
	// Welch and Satterthwaite's degrees of freedom.
	m, n := float64(len(sample)), float64(len(against))
	own, other := variance/m, otherVariance/n
	freedom := min(m, n) - 1
	if own+other > 0 {
		freedom = (own + other) * (own + other) / (own*own/(m-1) + other*other/(n-1))
	}
	return bounded(middle-otherMiddle, math.Sqrt(own+other), freedom, min(len(sample), len(against)), confidence)
}

// bounded turns a mean of logarithms and its standard error into a ratio and what it
// lies in, which is missing if there were too few values.
func bounded(middle, deviation, freedom float64, count int, confidence float64) (ratio float64, interval *Interval) {
	ratio = math.Exp(middle)
	if count < fewest {
		return ratio, nil
	}
	reach := student(confidence, freedom) * deviation
	return ratio, &Interval{Low: math.Exp(middle - reach), High: math.Exp(middle + reach), Confidence: confidence}
}

func logarithms(sample []float64) []float64 {
	logs := make([]float64, len(sample))
	for i, value := range sample {
		logs[i] = math.Log(value)
	}
	return logs
}

// moments are the mean of a sample and, of two values and more, its variance.
func moments(sample []float64) (mean, variance float64) {
	for _, value := range sample {
		mean += value / float64(len(sample))
	}
	if len(sample) < 2 {
		return mean, 0
	}
	for _, value := range sample {
		variance += (value - mean) * (value - mean) / float64(len(sample)-1)
	}
	return mean, variance
}

// student is the t that a variable of Student's distribution does not exceed in either
// direction with a probability, for degrees of freedom of 1 and more.
func student(probability, freedom float64) float64 {
	// Of t = sqrt(freedom) * tan(angle) the angle's density is the cosine to the power
	// freedom - 1, from 0 to a right angle. Its integral bends down all the way, so that
	// Newton's steps from 0 on come nearer to the angle and never pass it.
	density := func(angle float64) float64 { return math.Pow(math.Cos(angle), freedom-1) }
	wanted := probability * integral(density, math.Pi/2)
	angle := 0.0
	for range 100 {
		step := (wanted - integral(density, angle)) / density(angle)
		if angle += step; math.Abs(step) < 1e-12 {
			break
		}
	}
	return math.Sqrt(freedom) * math.Tan(angle)
}

// integral of a smooth function from 0 to an end, by Simpson's rule.
func integral(f func(float64) float64, end float64) float64 {
	const parts = 64
	sum := f(0) + f(end)
	for i := 1; i < parts; i++ {
		sum += float64(2+i%2*2) * f(end*float64(i)/parts)
	}
	return sum * end / parts / 3
}

// median of a sample that is not empty.
func median(sample []float64) float64 {
	sorted := slices.Sorted(slices.Values(sample))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
