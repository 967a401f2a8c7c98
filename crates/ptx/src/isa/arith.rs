// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Forms of integer, floating point, comparison, logic and conversion instructions.
//! The notation is that of [`super`]. Source: PTX ISA manual, sections 9.7.1 to 9.7.9.

/// See [`super`].
pub(super) const FORMS: &str = "
add T=$int : =T T T
add T=u16x2,s16x2 : =T T T : 8.0 90
add .sat T=s32 : =T T T
add .cc T=u32,s32,u64,s64 : =T T T
add R?=$rnd .ftz? .sat? T=f32 : =T T T
add R?=$rnd .ftz? T=f32x2 : =T T T : 8.6 100
add R?=$rnd T=f64 : =T T T
add R?=rn .ftz? .sat? T=f16,f16x2 : =T T T : 4.2 53
add R?=rn T=bf16,bf16x2 : =T T T : 7.8 90
sub T=$int : =T T T
sub .sat T=s32 : =T T T
sub .cc T=u32,s32,u64,s64 : =T T T
sub R?=$rnd .ftz? .sat? T=f32 : =T T T
sub R?=$rnd .ftz? T=f32x2 : =T T T : 8.6 100
sub R?=$rnd T=f64 : =T T T
sub R?=rn .ftz? .sat? T=f16,f16x2 : =T T T : 4.2 53
sub R?=rn T=bf16,bf16x2 : =T T T : 7.8 90
addc .cc? T=u32,s32,u64,s64 : =T T T
subc .cc? T=u32,s32,u64,s64 : =T T T
mul M=hi,lo T=$int : =T T T
mul .wide T=u16,u32,s16,s32 : =2T T T
mul R?=$rnd .ftz? .sat? T=f32 : =T T T
mul R?=$rnd .ftz? T=f32x2 : =T T T : 8.6 100
mul R?=$rnd T=f64 : =T T T
mul R?=rn .ftz? .sat? T=f16,f16x2 : =T T T : 4.2 53
mul R?=rn T=bf16,bf16x2 : =T T T : 7.8 90
mad M=hi,lo T=$int : =T T T T
mad .wide T=u16,u32,s16,s32 : =2T T T 2T
mad .hi .sat T=s32 : =T T T T
mad M=hi,lo .cc T=u32,s32,u64,s64 : =T T T T
madc M=hi,lo .cc? T=u32,s32,u64,s64 : =T T T T
mad R=$rnd .ftz? .sat? T=f32 : =T T T T
mad R=$rnd T=f64 : =T T T T
fma R=$rnd .ftz? .sat? T=f32 : =T T T T
fma R=$rnd .ftz? T=f32x2 : =T T T T : 8.6 100
fma R=$rnd T=f64 : =T T T T
fma R=rn .ftz? .sat? T=f16,f16x2 : =T T T T : 4.2 53
fma R=rn .ftz? .relu T=f16,f16x2 : =T T T T : 7.0 80
fma R=rn .relu? T=bf16,bf16x2 : =T T T T : 7.0 80
mul24 M=hi,lo T=u32,s32 : =T T T
mad24 M=hi,lo T=u32,s32 : =T T T T
mad24 .hi .sat T=s32 : =T T T T
sad T=$int : =T T T T
div T=$int : =T T T
div A=approx,full .ftz? T=f32 : =T T T
div R=$rnd .ftz? T=f32 : =T T T
div R=$rnd T=f64 : =T T T
rem T=$int : =T T T
abs T=s16,s32,s64 : =T T
abs .ftz? T=f32,f16,f16x2 : =T T
abs T=f64,bf16,bf16x2 : =T T
neg T=s16,s32,s64 : =T T
neg .ftz? T=f32,f16,f16x2 : =T T
neg T=f64,bf16,bf16x2 : =T T
min T=$int : =T T T
min .relu? T=s32,s16x2 : =T T T : 8.0 90
min T=u16x2 : =T T T : 8.0 90
min .ftz? .NaN? .xorsign? .abs? T=f32,f16,f16x2 : =T T T
min .NaN? .xorsign? .abs? T=bf16,bf16x2 : =T T T : 7.0 80
min T=f64 : =T T T
max T=$int : =T T T
max .relu? T=s32,s16x2 : =T T T : 8.0 90
max T=u16x2 : =T T T : 8.0 90
max .ftz? .NaN? .xorsign? .abs? T=f32,f16,f16x2 : =T T T
max .NaN? .xorsign? .abs? T=bf16,bf16x2 : =T T T : 7.0 80
max T=f64 : =T T T
popc T=b32,b64 : =u32 T
clz T=b32,b64 : =u32 T
bfind .shiftamt? T=u32,u64,s32,s64 : =u32 T
fns T=b32 : =b32 b32 b32 s32
brev T=b32,b64 : =T T
bfe T=u32,u64,s32,s64 : =T T u32 u32
bfi T=b32,b64 : =T T T u32 u32
szext W=clamp,wrap T=u32,s32 : =T T u32 : 7.6 70
bmsk W=clamp,wrap T=b32 : =T u32 u32 : 7.6 70
dp4a T=u32,s32 U=u32,s32 : =s32 b32 b32 s32
dp2a M=lo,hi T=u32,s32 U=u32,s32 : =s32 b32 b32 s32
copysign T=f32,f64 : =T T T
testp O=finite,infinite,number,notanumber,normal,subnormal T=f32,f64 : =p T
rcp .approx .ftz? T=f32 : =T T
rcp .approx .ftz T=f64 : =T T
rcp R=$rnd .ftz? T=f32 : =T T
rcp R=$rnd T=f64 : =T T
sqrt .approx .ftz? T=f32 : =T T
sqrt R=$rnd .ftz? T=f32 : =T T
sqrt R=$rnd T=f64 : =T T
rsqrt .approx .ftz? T=f32,f64 : =T T
sin .approx .ftz? T=f32 : =T T
cos .approx .ftz? T=f32 : =T T
lg2 .approx .ftz? T=f32 : =T T
ex2 .approx .ftz? T=f32 : =T T
ex2 .approx T=f16,f16x2 : =T T : 7.0 75
ex2 .approx .ftz T=bf16,bf16x2 : =T T : 7.8 90
tanh .approx T=f32,f16,f16x2 : =T T : 7.0 75
tanh .approx T=bf16,bf16x2 : =T T : 7.8 90
and T=pred : =p p p
or T=pred : =p p p
xor T=pred : =p p p
not T=pred : =p p
and T=b16,b32,b64 : =T T T
or T=b16,b32,b64 : =T T T
xor T=b16,b32,b64 : =T T T
not T=b16,b32,b64 : =T T
cnot T=b16,b32,b64 : =T T
lop3 T=b32 : =T T T T i
lop3 O=or,and T=b32 : =T|p T T T i p : 8.2 70
shf D=l,r W=clamp,wrap T=b32 : =T T T u32
shl T=b16,b32,b64 : =T T u32
shr T=b16,b32,b64,u16,u32,u64,s16,s32,s64 : =T T u32
prmt T=b32 : =T T T b32
prmt T=b32 M=f4e,b4e,rc8,ecl,ecr,rc16 : =T T T b32
set C=$cmp .ftz? D=u32,s32,f32 T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64 : =D T T
set C=$cmp B=and,or,xor .ftz? D=u32,s32,f32 T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64 : =D T T p
set C=$cmp .ftz? D=f16,u16,s16,u32,s32 T=f16 : =D T T
set C=$cmp .ftz? D=f16x2 T=f16x2 : =D T T
set C=$cmp D=bf16,u16,s16,u32,s32 T=bf16 : =D T T : 7.8 90
set C=$cmp D=bf16x2 T=bf16x2 : =D T T : 7.8 90
setp C=$cmp .ftz? T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64,f16 : =p|p T T
setp C=$cmp B=and,or,xor .ftz? T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64,f16 : =p|p T T p
setp C=$cmp .ftz? T=f16x2 : =p|p T T
setp C=$cmp B=and,or,xor .ftz? T=f16x2 : =p|p T T p
setp C=$cmp T=bf16,bf16x2 : =p|p T T : 7.8 90
setp C=$cmp B=and,or,xor T=bf16,bf16x2 : =p|p T T p : 7.8 90
selp T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64,f16 : =T T T p
slct .ftz? T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64 U=s32,f32 : =T T T U
mov T=pred : =p p
mov T=b16,b32,b64,u16,u32,u64,s16,s32,s64,f32,f64,b128,f16,f16x2 : =* *
cvt .sat? D=$int8 T=$int8 : =~D ~T
cvt R=$rndi .ftz? .sat? D=$int8 T=f16,f32,f64,bf16 : =~D ~T
cvt R=$rnd .sat? D=f16,f32,f64,bf16 T=$int8 : =~D ~T
cvt .ftz? .sat? D=f32 T=f16 : =~D ~T
cvt .ftz? .sat? D=f64 T=f16,f32 : =~D ~T
cvt R?=$rndi .ftz? .sat? D=f16 T=f16 : =~D ~T
cvt R?=$rndi .ftz? .sat? D=f32 T=f32 : =~D ~T
cvt R?=$rndi .sat? D=f64 T=f64 : =~D ~T
cvt R=$rnd .ftz? .sat? D=f16 T=f32,f64 : =~D ~T
cvt R=$rnd .ftz? .sat? D=f32 T=f64 : =~D ~T
cvt R=rn,rz .ftz? .relu? .sat? D=f16,bf16 T=f32,f16,bf16 : =~D ~T : 7.0 80
cvt R=rn,rz,rna .satfinite? .relu? .satfinite? D=f16,bf16,tf32 T=f32 : =~D ~T : 7.0 80
cvt R=rn,rz,rm,rp,rni,rzi,rmi,rpi .sat? .relu? D=bf16 T=f16,f32,f64,bf16 : =~D ~T : 7.0 80
cvt .ftz? .sat? D=f32,f64 T=bf16 : =~D ~T : 7.1 80
cvt R=rn,rz .relu? .satfinite? D=f16x2,bf16x2 T=f32 : =D f32 f32 : 7.0 80
cvt R=rn .satfinite .relu? D=e4m3x2,e5m2x2 T=f32 : =D f32 f32 : 7.8 89
cvt R=rn .satfinite .relu? D=e4m3x2,e5m2x2 T=f16x2 : =D T : 7.8 89
cvt R=rn .relu? D=f16x2 T=e4m3x2,e5m2x2 : =D T : 7.8 89
cvt .pack .sat D=u16,s16 T=s32 : =b32 s32 s32 : 6.5 72
cvt .pack .sat D=u8,s8,u4,s4,u2,s2 T=s32 U=b32 : =b32 s32 s32 b32 : 6.5 72
vadd4 T=u32,s32 U=u32,s32 W=u32,s32 .sat? : =b32 b32 b32 b32
vsub4 T=u32,s32 U=u32,s32 W=u32,s32 .sat? : =b32 b32 b32 b32
vavrg4 T=u32,s32 U=u32,s32 W=u32,s32 .sat? : =b32 b32 b32 b32
vabsdiff4 T=u32,s32 U=u32,s32 W=u32,s32 .add? : =b32 b32 b32 b32
vmin4 T=u32,s32 U=u32,s32 W=u32,s32 .sat? : =b32 b32 b32 b32
vmax4 T=u32,s32 U=u32,s32 W=u32,s32 .sat? : =b32 b32 b32 b32
";
