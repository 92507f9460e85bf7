module till

go 1.24

require rsc.io/qr v0.2.0
