package main

import "iter"

// pullNext takes n values from one iterator, in a goroutine like any other.
func pullNext(n int) int {
	next, stop := iter.Pull(func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	})
	defer stop()
	for i := range n {
		v, ok := next()
		check(ok && v == i)
	}
	return n
}

// pullLife creates n iterators, and takes their four values and their end.
func pullLife(n int) int {
	for range n {
		next, stop := iter.Pull(func(yield func(int) bool) {
			for i := 0; i < 4 && yield(i); i++ {
			}
		})
		sum := 0
		for v, ok := next(); ok; v, ok = next() {
			sum += v
		}
		stop()
		check(sum == 6)
	}
	return n
}
