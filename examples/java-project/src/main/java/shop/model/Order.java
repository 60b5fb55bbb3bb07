package shop.model;

public record Order(String what, int pieces, double each) {
    public double price() {
        return pieces * each;
    }
}
